// The explorer: a map of images and proxies, and what is around it.
import {KINDS, PALETTE, RAMP, gradient, named} from "./colours.js";
import {asRoot, button, copy, download, make} from "./dom.js";
import {Asked} from "./explorer_asked.js";
import {Filter} from "./explorer_filter.js";
import {StudyMap} from "./explorer_map.js";
import {asCsv, asNumbers, asPaths, search} from "./explorer_search.js";
import {sheetOf} from "./explorer_sheet.js";
import {Side} from "./explorer_side.js";
import {StudyData} from "./study.js";
import {array} from "./typed.js";

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

export class ExplorerView {
  constructor(model, payload) {
    this.model = model;
    const choose = (ids, mode) => this.choose(ids, mode);
    const open = (p) => this.open(p);
    const back = () => this.back();
    this.past = [];                                 // what was chosen before, the last at the end
    this.study = new StudyData(payload);
    this.sheet = sheetOf(model, payload);
    const acts = {choose, open, back};
    this.map = new StudyMap(this.study, this.sheet, model.get("epoch"), acts);
    this.side = new Side(this.study, this.sheet, choose, open, () => this.map.shownImages());
    this.asked = new Asked(model, payload.asks, this.map, (words) => {
      this.side.status.textContent = words;
    });
    this.map.asked = this.asked;
    this.key = make("div", {className: "v-row v-key"});
    this.filter = new Filter(this.study, this.map, (test) => {
      this.map.showOnly(test);
      this.side.refresh();
    });
    const left = make("div", {}, this.map.element, this.filters(), this.key, this.filter.element);
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
    const invert = button("invert", () => this.invert(), {title: "all others that are shown"});
    this.backButton = button("back", () => this.back(), {
      title: "to what was chosen before (Ctrl Z)", disabled: true
    });
    const home = button("whole map", () => map.whole());
    const colour = make("label", {}, "colour by ", this.colour);
    const choosing = [worst, this.lassoButton(), invert, this.backButton, clear];
    const whole = button("full screen", () => this.fullScreen());
    const finding = [...this.searchField(), ...this.asked.controls()];
    return row(colour, ...finding, ...choosing, this.exportField(), home, whole);
  }

  // Ways to take the choice away; of nothing chosen, of all images that are shown.
  exportField() {
    const {study} = this;
    const acts = {
      "paths to the clipboard": (ids) => copy(asPaths(study, ids)),
      "numbers to the clipboard": (ids) => copy(asNumbers(ids)),
      "table as a CSV file": (ids) => download("images.csv", asCsv(study, ids), "text/csv")
    };
    const words = Object.keys(acts).map((name) => make("option", {value: name, textContent: name}));
    const field = make("select", {ariaLabel: "export what is chosen"},
      make("option", {value: "", textContent: "export ..."}), ...words);
    field.onchange = async () => {
      const {picked} = this.map;
      const ids = picked.length ? picked : this.map.shownImages();
      const done = await acts[field.value](ids);
      const count = `${ids.length.toLocaleString()} images`;
      this.side.status.textContent = done ? `${count}: ${field.value}` : "the browser refused this";
      field.value = "";
    };
    return field;
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  searchField() {
    const id = `vptsp-classes-${this.study.id}`;
    const words = "search a class, file, ...";
    const title = "a class or a part of its name; else any other column or file. "
      + "Also: vendor: noto, MAP@R: < 0.2, /a pattern/";
    const field = {type: "search", placeholder: words, ariaLabel: "search", title, list: id};
    this.search = make("input", field);
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
      this.map.hands.setLasso(on);
    };
    const title = "draw around images; Shift adds to the choice, Alt removes from it";
    const element = button("lasso", press, {title, ariaPressed: "false"});
    return element;
  }

  time() {
    const {study, map} = this;
    const range = {type: "range", min: 0, max: study.last, step: 1, value: map.at.epoch};
    this.slider = make("input", {...range, ariaLabel: "epoch"});
    this.slider.oninput = () => this.set("epoch", Number(this.slider.value));
    this.epochText = make("output", {textContent: study.epochs[map.at.epoch]});
    const trails = toggle("trails of the proxies", false, (on) => {
      map.stars.trails = on;
      map.draw();
    });
    const line = row(make("label", {}, "epoch ", this.slider), this.epochText, trails);
    line.hidden = !study.last;
    return line;
  }

  // Which splits, kinds of proxies, names and thumbnails are shown.
  filters() {
    const {study, map} = this;
    this.splits = study.splits.map((split) => toggle(split, false, (on) => {
      const shown = new Set(this.model.get("splits"));
      addOrDelete(shown, split, on);
      this.set("splits", study.splits.filter((name) => shown.has(name)));
    }));
    this.showSplits();
    const kinds = study.kinds.map((kind) => {
      const words = `${KINDS[kind].mark} ${KINDS[kind].name}`;
      return toggle(words, map.stars.kinds.has(kind), (on) => {
        addOrDelete(map.stars.kinds, kind, on);
        map.draw();
      });
    });
    const layers = [["names", map.names], ["thumbnails when near", map.thumbnails]];
    const toggles = layers.map(([words, layer]) => toggle(words, layer.on, (on) => {
      layer.on = on;
      map.draw();
    }));
    return row(...this.splits, ...kinds, ...toggles);
  }

  showSplits() {
    const {study, map} = this;
    const shown = new Set(this.model.get("splits"));
    for (const [i, split] of study.splits.entries()) {
      addOrDelete(map.hidden, i, !shown.has(split));
      this.splits[i].firstElementChild.checked = shown.has(split);
    }
    map.showOnly();
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
    const dot = make("i", {style: `background:${column.colours?.[value] ?? named(value)}`});
    const element = make("button", {title: "choose those that are shown"}, dot, name);
    element.onclick = () => {
      this.choose(this.map.shownImages().filter((i) => column.values[i] === value));
    };
    return element;
  }

  // Choosing.

  // mode: whether these replace what is chosen, are added to it, or are removed from it
  choose(ids, mode = "replace") {
    const {picked} = this.map;
    const given = new Set(ids.filter((i) => i >= 0 && i < this.study.n));
    let wanted = [...given];
    if (mode === "add") wanted = [...new Set([...picked, ...given])];
    if (mode === "remove") wanted = picked.filter((i) => !given.has(i));
    this.remember();
    this.show(wanted, -1);
    this.tell();
  }

  // Open a proxy; nothing else is chosen then.
  open(p) {
    this.remember();
    this.show([], p);
    this.tell();
  }

  invert() {
    this.choose(this.map.shownImages().filter((i) => !this.map.chosen[i]));
  }

  remember() {
    this.past.push([this.map.picked, this.map.at.proxy]);
    this.backButton.disabled = false;
  }

  back() {
    const before = this.past.pop();
    if (!before) return;
    this.show(...before);
    this.tell();
    this.backButton.disabled = !this.past.length;
  }

  show(picked, proxy) {
    this.asked.answer = null;
    this.map.at.proxy = proxy;
    if (proxy >= 0) this.side.showProxy(proxy);
    else this.side.show(picked);
    this.map.pick(picked);
  }

  tell() {
    const {picked, at} = this.map;
    this.model.set("proxy", at.proxy);
    this.set("selected", new DataView(Int32Array.from(picked).buffer));
  }

  // The images that are meant by words: see `search`.
  find(words) {
    if (!words.trim()) {
      this.choose([]);
      return;
    }
    let found = null;
    try {
      found = search(this.study, words);
    } catch (error) {
      this.side.status.textContent = `not a pattern: ${error.message}`;
      return;
    }
    this.choose(found.ids);
    const {status} = this.side;
    const count = found.ids.length.toLocaleString();
    if (!found.ids.length) status.textContent = `nothing with "${words}" in ${found.where}`;
    else if (found.where !== "class") {
      status.textContent = `${count} images with "${words}" in ${found.where}`;
    }
  }

  // What Python sets.

  hear() {
    this.model.on("change:colour", () => this.showColours());
    this.model.on("change:splits", () => {
      this.showSplits();
      this.side.refresh();
    });
    this.model.on("change:epoch", () => this.showEpoch(this.model.get("epoch")));
    this.model.on("change:selected", () => {
      const ids = this.selected();
      const {picked} = this.map;
      const same = ids.length === picked.length && ids.every((i, j) => i === picked[j]);
      if (!same) this.show(ids, -1);
    });
    this.model.on("change:asked", () => this.showAsked());
    this.model.on("change:proxy", () => {
      const p = this.model.get("proxy");
      if (p !== this.map.at.proxy) this.show(p < 0 ? this.map.picked : [], p);
    });
  }

  // An image of one's own and its nearest, until something else is chosen.
  showAsked() {
    this.asked.hear();
    const {answer, picture} = this.asked;
    if (!answer) return;
    this.remember();
    this.map.pick(answer.near);
    this.side.showAsked(answer, picture);
    this.tell();
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
    this.show(this.selected(), this.model.get("proxy"));
    if (this.model.get("asked")?.near) this.showAsked();
    this.sheet.whenReady(() => {
      this.map.prepare();
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
      star: (p) => map.screenOf(map.stars.spot([...map.stars.kinds][0], p)),
      picked: () => map.picked,
      thumbnails: () => map.thumbnails.shown,
      frame() {
        const start = performance.now();
        map.paint();
        return performance.now() - start;
      }
    };
  }
}
