// The explorer: a map of images and proxies to look around in.
import {KINDS, PALETTE, RAMP, gradient, named} from "./colours.js";
import {asRoot, button, make} from "./dom.js";
import {StudyMap} from "./explorer_map.js";
import {Side} from "./explorer_side.js";
import {StudyData} from "./study.js";
import {TileSheet} from "./tiles.js";
import {array, which} from "./typed.js";

const MOST_NAMES = 2000;  // that the search field offers

function row(...children) {
  return make("div", {className: "v-row"}, ...children);
}

function toggle(words, on, act) {
  const box = make("input", {type: "checkbox", checked: on});
  box.onchange = () => act(box.checked);
  return make("label", {}, box, ` ${words}`);
}

function addOrDelete(set, item, on) {
  if (on) set.add(item);
  else set.delete(item);
}

class ExplorerView {
  constructor(model) {
    this.model = model;
    const payload = model.get("payload");
    const choose = (ids) => this.choose(ids);
    this.study = new StudyData(payload);
    this.sheet = new TileSheet(payload.sprite, payload.side, payload.across);
    this.map = new StudyMap(this.study, this.sheet, model.get("epoch"), choose);
    this.side = new Side(this.study, this.sheet, choose);
    this.key = make("div", {className: "v-row v-key"});
    const left = make("div", {}, this.map.element, this.filters(), this.key);
    const main = make("div", {className: "v-main"}, left, this.side.element);
    this.root = asRoot(make("div", {}, this.controls(), this.time(), main), "vptsp-explorer");
  }

  set(trait, value) {
    this.model.set(trait, value);
    this.model.save_changes();
  }

  // What there is to press.

  controls() {
    const {study, map} = this;
    const names = study.columns.map(({name}) => make("option", {value: name, textContent: name}));
    this.colour = make("select", {ariaLabel: "colour by"}, ...names);
    this.colour.onchange = () => this.set("colour", this.colour.value);
    const worst = button("worst queries", () => this.choose(study.worst), {
      title: "those with the lowest MAP@R", disabled: !study.worst.length
    });
    const clear = button("clear", () => {
      this.search.value = "";
      this.choose([]);
    });
    const home = button("whole map", () => map.whole());
    const colour = make("label", {}, "colour by ", this.colour);
    return row(colour, ...this.searchField(), worst, this.lassoButton(), clear, home);
  }

  searchField() {
    const id = `vptsp-classes-${this.study.id}`;
    const words = "search a class";
    this.search = make("input", {type: "search", placeholder: words, ariaLabel: words, list: id});
    this.search.onchange = () => this.find(this.search.value);
    this.search.onkeydown = (event) => event.stopPropagation();  // a notebook's shortcuts
    const offered = this.study.classes.slice(0, MOST_NAMES);
    const options = offered.map(({name}) => make("option", {value: name}));
    return [this.search, make("datalist", {id}, ...options)];
  }

  lassoButton() {
    const press = () => {
      const on = element.ariaPressed !== "true";
      element.ariaPressed = String(on);
      this.map.setLasso(on);
    };
    const title = "draw around images (or hold shift)";
    const element = button("lasso", press, {title, ariaPressed: "false"});
    return element;
  }

  time() {
    const {study, map} = this;
    const range = {type: "range", min: 0, max: study.last, step: 1, value: map.at.epoch};
    this.slider = make("input", {...range, ariaLabel: "epoch"});
    this.slider.oninput = () => this.set("epoch", Number(this.slider.value));
    this.epochText = make("output", {textContent: study.epochs[map.at.epoch]});
    const trails = toggle("trails of the proxies", study.last > 0, (on) => {
      map.trails = on;
      map.paintOver();
    });
    const line = row(make("label", {}, "epoch ", this.slider), this.epochText, trails);
    line.hidden = !study.last;
    return line;
  }

  // Which splits and which kinds of proxies are shown.
  filters() {
    const {study, map} = this;
    const splits = study.splits.map((split, i) => toggle(split, true, (on) => {
      addOrDelete(map.hidden, i, !on);
      map.moved();
    }));
    const kinds = study.kinds.map((kind) => {
      const words = `${KINDS[kind].mark} ${KINDS[kind].name}`;
      return toggle(words, map.kinds.has(kind), (on) => {
        addOrDelete(map.kinds, kind, on);
        map.draw();
      });
    });
    return row(...splits, ...kinds);
  }

  // What the colours mean.

  showColours() {
    this.map.colourBy(this.model.get("colour"));
    const {column} = this.map;
    this.colour.value = column.name;
    this.key.replaceChildren(...this.keyOf(column));
  }

  keyOf(column) {
    if (!column.names) {
      const ramp = make("span", {className: "v-ramp"});
      ramp.style.background = gradient(RAMP);
      const low = make("span", {textContent: column.low.toPrecision(3)});
      const high = make("span", {textContent: `${column.high.toPrecision(3)} (grey: none)`});
      return [low, ramp, high];
    }
    if (column.names.length <= PALETTE.length) {
      return column.names.map((name, value) => this.keyButton(column, name, value));
    }
    const values = column.names.length.toLocaleString();
    return [`${values} values, the ${PALETTE.length} colours come again`];
  }

  keyButton(column, name, value) {
    const dot = make("i", {style: `background:${named(value)}`});
    const element = make("button", {title: "select these"}, dot, name);
    const has = (i) => column.values[i] === value;
    element.onclick = () => this.choose(which(this.study.n, has));
    return element;
  }

  // Choosing.

  choose(ids, tell = true) {
    const picked = ids.filter((i) => i >= 0 && i < this.study.n);
    if (tell) this.set("selected", new DataView(Int32Array.from(picked).buffer));
    this.side.show(picked);
    this.map.pick(picked);
  }

  // The images of the class of that name, or of all with it in their name.
  find(words) {
    const {n, classes, label} = this.study;
    const wanted = words.trim().toLowerCase();
    if (!wanted) {
      this.choose([]);
      return;
    }
    const names = classes.map(({name}) => name.toLowerCase());
    const exact = names.indexOf(wanted);
    const hit = names.map((name, c) => exact >= 0 ? c === exact : name.includes(wanted));
    const ids = which(n, (i) => hit[label[i]]);
    this.choose(ids);
    if (!ids.length) this.side.status.textContent = `no class has "${words}" in its name`;
  }

  // What Python sets.

  hear() {
    this.model.on("change:colour", () => this.showColours());
    this.model.on("change:epoch", () => this.showEpoch(this.model.get("epoch")));
    this.model.on("change:selected", () => {
      const ids = this.selected();
      const {picked} = this.map;
      const same = ids.length === picked.length && ids.every((i, j) => i === picked[j]);
      if (!same) this.choose(ids, false);
    });
  }

  selected() {
    return [...array(Int32Array, this.model.get("selected"))];
  }

  showEpoch(epoch) {
    if (epoch === this.map.at.epoch) return;
    this.slider.value = epoch;
    this.epochText.textContent = this.study.epochs[epoch];
    this.map.goTo(epoch);
  }

  // Once the root is in the page.
  start() {
    this.hear();
    this.map.start();
    this.showColours();
    this.choose(this.selected(), false);
    this.sheet.whenReady(() => {
      this.root.dataset.ready = "true";
    });
  }

  stop() {
    this.map.stop();
    this.sheet.release();
  }

  // What tests and benchmarks ask.
  handle() {
    const {map} = this;
    return {
      at: map.at,
      screen: (i) => map.screen(i),
      picked: () => map.picked,
      frame() {
        const start = performance.now();
        map.paint();
        return performance.now() - start;
      }
    };
  }
}

function render({model, el}) {
  const view = new ExplorerView(model);
  view.root.vptsp = view.handle();
  el.append(view.root);
  view.start();
  return () => view.stop();
}

export default {render};
