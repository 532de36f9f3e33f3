// The inspector: a table of all proxies, and a page for each.
import {KINDS} from "./colours.js";
import {asRoot, button, make} from "./dom.js";
import {chartKey, kindsChart} from "./inspector_chart.js";
import {MEANINGS} from "./inspector_words.js";
import {TileSheet} from "./tiles.js";
import {explained, question} from "./tips.js";
import {range} from "./typed.js";

const MOST_ROWS = 50;     // of the table at first, and with each press on "more"
const FIRST_IMAGES = 3;   // of a class, in its row
const TILE_SIDE = 96;
const COUNTS = 1;         // the column that counts images
const KEYS = "Left and right arrow keys turn the pages, Escape leads to all classes.";

function heading(words, meaning) {
  return make("h4", {}, `${words} `, question(words, MEANINGS[meaning]));
}

function paragraph(words) {
  return make("p", {textContent: words});
}

function bullets(items) {
  return make("ul", {}, ...items.map((parts) => make("li", {}, ...parts)));
}

export function cellText(value, column) {
  if (value === null) return "–";
  if (typeof value !== "number" || column === COUNTS) return String(value);
  return (Math.round(1000 * value) / 1000 + 0).toFixed(3);    // + 0: there is no -0.000
}

// Order of two cells; what is missing comes last in both directions.
export function compareCells(a, b, falling) {
  if (a === null) return 1;
  if (b === null) return -1;
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return falling ? -order : order;
}

// The page that a key leads to from page `c` of `count`; -1: the table; null: the key is another's.
export function pageAfter(key, c, count) {
  if (c < 0) return null;
  const to = {ArrowLeft: Math.max(c - 1, 0), ArrowRight: Math.min(c + 1, count - 1), Escape: -1};
  return to[key] ?? null;
}

class InspectorView {
  constructor(model) {
    this.model = model;
    this.data = model.get("payload");
    this.sheet = new TileSheet(this.data.sprite, this.data.side, this.data.across);
    this.root = asRoot(make("div"), "vptsp-inspector");
    this.sortBy = this.data.columns.indexOf("nearest rival");
    this.falling = true;
    this.filter = "";
    this.most = MOST_ROWS;
    this.last = -1;                              // the page that was open before
    this.root.tabIndex = -1;                     // a click anywhere brings the keys here
    this.root.dataset.lmSuppressShortcuts = "true";
    this.root.onkeydown = (event) => this.turn(event);
  }

  goTo(c) {
    this.model.set("shown", c);
    this.model.save_changes();
  }

  turn(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const {classes} = this.data;
    const to = pageAfter(event.key, this.model.get("shown"), classes.length);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.goTo(to);
  }

  // Draw what is shown. What had the focus has it again, or what stands for it on another page.
  show() {
    const shown = this.model.get("shown");
    const held = this.root.contains(document.activeElement);
    const {keep} = document.activeElement?.dataset ?? {};
    this.root.replaceChildren(...shown >= 0 ? this.page(shown) : this.table());
    if (held) this.heldAgain(keep, shown).focus({preventScroll: shown === this.last});
    this.last = shown;
  }

  heldAgain(keep, shown) {
    const all = [...this.root.querySelectorAll("[data-keep]:not(:disabled)")];
    const find = (name) => all.find((element) => element.dataset.keep === name);
    const instead = shown >= 0 ? "title" : `class ${this.last}`;
    return find(keep) ?? find(instead) ?? this.root;
  }

  link(c) {
    const {name} = this.data.classes[c];
    return button(name, () => this.goTo(c), {className: "v-link"});
  }

  // The page of a class.

  tile(i, mark = "", note = "") {
    const {labels, names} = this.data;
    const name = labels[i] < 0 ? "" : names[labels[i]];
    const words = mark ? `${name}, ${mark}` : name;
    const canvas = this.sheet.canvas(i, TILE_SIDE);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    const caption = note ? [make("figcaption", {textContent: note})] : [];
    return make("figure", {className: `v-tile ${mark}`, title: words}, canvas, ...caption);
  }

  page(c) {
    const shown = this.data.classes[c];
    const title = make("h3", {textContent: shown.name, tabIndex: -1});
    title.dataset.keep = "title";
    return [
      this.pager(c),
      title,
      this.figures(shown),
      ...this.images(shown),
      ...this.data.kinds.flatMap((kind) => this.nearest(shown, kind)),
      heading("confused with", "confused with"),
      this.confusions(shown),
      ...this.charts(shown)
    ];
  }

  pager(c) {
    const count = this.data.classes.length;
    const press = (words, key, to, attributes = {}) => {
      const shortcut = {title: `key: ${key}`, ariaKeyShortcuts: key.replace(" ", "")};
      const element = button(words, () => this.goTo(to), {...shortcut, ...attributes});
      element.dataset.keep = words;
      return element;
    };
    return make("div", {className: "v-row"},
      press("all classes", "Escape", -1),
      press("previous", "Arrow Left", c - 1, {disabled: c === 0}),
      press("next", "Arrow Right", c + 1, {disabled: c === count - 1}),
      make("span", {textContent: `${c + 1} of ${count.toLocaleString()}. ${KEYS}`}));
  }

  figures({row}) {
    const words = this.data.columns.map((name, i) => `${name}: ${cellText(row[i], i)}`);
    return paragraph(words.slice(1).join("; "));
  }

  images({images, more}) {
    const part = more ? ` (${images.length} of ${images.length + more})` : "";
    const tiles = images.map((i) => this.tile(i));
    const title = heading(`its images${part}`, "its images");
    return [title, make("div", {className: "v-tiles"}, ...tiles)];
  }

  nearest({near, number}, kind) {
    const tiles = near[kind].map(([i, cosine]) => {
      const mark = this.data.labels[i] === number ? "right" : "wrong";
      return this.tile(i, mark, cosine.toFixed(2));
    });
    const title = `training images nearest to its ${KINDS[kind].name}`;
    return [heading(title, kind), make("div", {className: "v-tiles"}, ...tiles)];
  }

  confusions({rivals, taken}) {
    const proxies = rivals.map(([c, cosine]) => [this.link(c), ` ${cosine.toFixed(2)}`]);
    const others = taken.map(([name, images]) => [`${name}: ${images}`]);
    const images = others.length ? bullets(others) : paragraph("never");
    return make("div", {className: "v-two"},
      make("div", {}, paragraph("nearest other proxies (cosine)"), bullets(proxies)),
      make("div", {}, paragraph("its images' nearest image shows another class"), images));
  }

  charts({drift, own, norms}) {
    const {epochs, blocks, kinds} = this.data;
    const panel = (meaning, chart) =>
      make("div", {}, heading(chart.title, meaning), kindsChart(chart));
    const duty = {title: "cosine to the mean of its images", axes: ["epoch", "cosine"]};
    const moved = {title: "drift from the start", axes: ["epoch", "1 - cosine"]};
    const lengths = {title: "mean norm of its prompts", axes: ["block", "norm"]};
    const found = [panel("cosine over epochs", {...duty, places: epochs, series: own})];
    if (epochs.length > 1) found.push(panel("drift", {...moved, places: epochs, series: drift}));
    else found.push(paragraph("Drift was not measured: train with callbacks=[Snapshots()]."));
    if (norms.length) {
      const series = {prompts: norms};
      found.push(panel("prompt norms", {...lengths, places: blocks, series}));
    }
    return [chartKey(kinds), make("div", {className: "v-two"}, ...found)];
  }

  // The table of all classes.

  order() {
    const {classes} = this.data;
    const cell = (c) => classes[c].row[this.sortBy];
    return range(classes.length)
      .filter((c) => classes[c].name.toLowerCase().includes(this.filter))
      .sort((a, b) => compareCells(cell(a), cell(b), this.falling));
  }

  table() {
    const order = this.order();
    const count = `${order.length.toLocaleString()} classes`;
    const part = order.length > this.most ? `, the first ${this.most} below` : "";
    const heads = this.data.columns.map((name, i) => this.columnHead(name, i));
    const rows = order.slice(0, this.most).map((c) => this.tableRow(c));
    const above = make("span", {textContent: count + part});
    const table = make("table", {},
      make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...rows));
    return [
      make("div", {className: "v-row"}, this.searchField(), above),
      make("div", {className: "v-scroll"}, table),
      ...order.length > this.most ? [this.moreRows(order.length - this.most)] : []
    ];
  }

  moreRows(hidden) {
    const words = `show ${Math.min(hidden, MOST_ROWS)} more`;
    const more = button(words, () => {
      this.most += MOST_ROWS;
      this.show();
    });
    more.dataset.keep = "more";
    return more;
  }

  searchField() {
    const words = "search a class";
    const value = this.filter;
    const field = make("input", {type: "search", placeholder: words, ariaLabel: words, value});
    field.dataset.keep = "search";
    field.onchange = () => {
      this.filter = field.value.trim().toLowerCase();
      this.most = MOST_ROWS;
      this.show();
    };
    return field;
  }

  columnHead(name, i) {
    const sorted = i === this.sortBy;
    const arrow = sorted ? this.falling ? " ↓" : " ↑" : "";
    const sort = () => {
      this.falling = sorted ? !this.falling : i > 0;
      this.sortBy = i;
      this.show();
    };
    const sorter = button(name + arrow, sort, {className: "v-link"});
    sorter.dataset.keep = `column ${i}`;
    const head = make("th", {scope: "col"}, explained(sorter, MEANINGS[name]));
    const direction = this.falling ? "descending" : "ascending";
    head.setAttribute("aria-sort", sorted ? direction : "none");
    return head;
  }

  tableRow(c) {
    const cells = this.data.classes[c].row.map((value, i) => cellText(value, i));
    const rest = cells.slice(1).map((words) => make("td", {textContent: words}));
    const link = this.link(c);
    link.dataset.keep = `class ${c}`;
    const named = make("div", {className: "v-named"}, this.firstImages(c), link);
    return make("tr", {}, make("td", {}, named), ...rest);
  }

  firstImages(c) {
    const images = this.data.classes[c].images.slice(0, FIRST_IMAGES);
    const tiles = images.map((i) => this.sheet.canvas(i, TILE_SIDE));
    return make("span", {className: "v-first", ariaHidden: "true"}, ...tiles);
  }
}

function render({model, el}) {
  const view = new InspectorView(model);
  el.append(view.root);
  model.on("change:shown", () => view.show());
  view.show();
  view.sheet.whenReady(() => {
    view.root.dataset.ready = "true";
  });
  return () => view.sheet.release();
}

export default {render};
