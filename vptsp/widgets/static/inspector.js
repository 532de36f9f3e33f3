// The inspector: a table of all proxies, and a page for each.
import {horizontal, linear, marker, polyline, text} from "./charts.js";
import {ACCENT, KINDS} from "./colours.js";
import {asRoot, button, make} from "./dom.js";
import {svg} from "./svg.js";
import {TileSheet} from "./tiles.js";
import {range} from "./typed.js";

const MOST_ROWS = 500;
const TILE_SIDE = 96;
const COUNTS = 1;         // the column that counts images
const CHART = {width: 330, height: 170, left: 40, right: 10, top: 20, bottom: 28};
const LABEL = {"font-size": 11, fill: "currentColor"};

function heading(words) {
  return make("h4", {textContent: words});
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

function lineStyle(kind) {
  return {"stroke-dasharray": KINDS[kind]?.dash ?? ""};
}

function chartFrame(title) {
  const {width, height} = CHART;
  const size = {viewBox: `0 0 ${width} ${height}`, width, height};
  const caption = text(CHART.left, 12, title, {...LABEL, "font-weight": 600});
  return svg("svg", {...size, role: "img", "aria-label": title}, caption);
}

function verticalAxis(low, high, y) {
  return [low, high].flatMap((value) => {
    const grid = {stroke: "currentColor", opacity: .25};
    const words = Math.abs(value).toFixed(2);
    const label = text(CHART.left - 4, y(value) + 4, words, {...LABEL, "text-anchor": "end"});
    return [horizontal(y(value), CHART.left, CHART.width - CHART.right, grid), label];
  });
}

// At most twelve or so of the places' names, and what they are.
function placeAxis(names, x, unit) {
  const middle = {...LABEL, "text-anchor": "middle"};
  const every = names.length < 13 ? 1 : Math.ceil(names.length / 12);
  const labels = range(names.length).filter((i) => i % every === 0)
    .map((i) => text(x(i), CHART.height - 14, names[i], middle));
  return [...labels, text((CHART.left + CHART.width) / 2, CHART.height - 2, unit, middle)];
}

// Lines over equally spaced places. series: {kind: [y ..]}; names: of the places
function kindsChart(title, series, names, unit) {
  const {width, height, left, right, top, bottom} = CHART;
  const values = Object.values(series).flat().filter(Number.isFinite);
  const low = Math.min(...values);
  const high = Math.max(...values, low + 1e-6);
  const inner = width - left - right;
  const x = (i) => left + inner * (names.length > 1 ? i / (names.length - 1) : .5);
  const y = linear(low, high, height - bottom, top);
  const chart = chartFrame(title);
  chart.append(...verticalAxis(low, high, y), ...placeAxis(names, x, unit));
  for (const [kind, ys] of Object.entries(series)) {
    const colour = KINDS[kind]?.colour ?? ACCENT;
    const points = ys.map((value, i) => [x(i), y(value)]);
    chart.append(polyline(points, colour, lineStyle(kind)));
    for (const [px, py] of points) chart.append(...marker("circle", px, py, colour, 2.6));
  }
  return chart;
}

function chartKey(kinds) {
  return make("div", {className: "v-key"}, ...kinds.map((kind) => {
    const look = {stroke: KINDS[kind].colour, "stroke-width": 2, ...lineStyle(kind)};
    const size = {width: 30, height: 10, "aria-hidden": "true"};
    const sample = svg("svg", size, horizontal(5, 0, 30, look));
    return make("span", {}, sample, ` ${KINDS[kind].name}`);
  }));
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
  }

  goTo(c) {
    this.model.set("shown", c);
    this.model.save_changes();
  }

  show() {
    const shown = this.model.get("shown");
    this.root.replaceChildren(...shown >= 0 ? this.page(shown) : this.table());
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
    return [
      this.pager(c),
      make("h3", {textContent: shown.name}),
      this.figures(shown),
      ...this.images(shown),
      ...this.data.kinds.flatMap((kind) => this.nearest(shown, kind)),
      heading("confused with"),
      this.confusions(shown),
      this.charts(shown)
    ];
  }

  pager(c) {
    const last = this.data.classes.length - 1;
    return make("div", {className: "v-row"},
      button("all classes", () => this.goTo(-1)),
      button("previous", () => this.goTo(c - 1), {disabled: c === 0}),
      button("next", () => this.goTo(c + 1), {disabled: c === last}));
  }

  figures({row}) {
    const words = this.data.columns.map((name, i) => `${name}: ${cellText(row[i], i)}`);
    return paragraph(words.slice(1).join("; "));
  }

  images({images, more}) {
    const part = more ? ` (${images.length} of ${images.length + more})` : "";
    const tiles = images.map((i) => this.tile(i));
    return [heading(`its images${part}`), make("div", {className: "v-tiles"}, ...tiles)];
  }

  nearest({near, number}, kind) {
    const tiles = near[kind].map(([i, cosine]) => {
      const mark = this.data.labels[i] === number ? "right" : "wrong";
      return this.tile(i, mark, cosine.toFixed(2));
    });
    const title = `training images nearest to its ${KINDS[kind].name}`;
    return [heading(title), make("div", {className: "v-tiles"}, ...tiles)];
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
    const withKey = (chart) => make("div", {}, chart, chartKey(kinds));
    const found = [];
    if (epochs.length > 1) {
      const title = "drift: cosine distance from the start";
      found.push(withKey(kindsChart(title, drift, epochs, "epoch")));
    } else {
      found.push(paragraph("Drift was not measured: train with callbacks=[Snapshots()]."));
    }
    found.push(withKey(kindsChart("cosine to the mean of its images", own, epochs, "epoch")));
    if (norms.length) {
      found.push(kindsChart("mean norm of its prompts", {proxy: norms}, blocks, "block"));
    }
    return make("div", {className: "v-two"}, ...found);
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
    const part = order.length > MOST_ROWS ? `, the first ${MOST_ROWS} below` : "";
    const heads = this.data.columns.map((name, i) => this.columnHead(name, i));
    const rows = order.slice(0, MOST_ROWS).map((c) => this.tableRow(c));
    const above = make("span", {textContent: count + part});
    const table = make("table", {},
      make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...rows));
    return [
      make("div", {className: "v-row"}, this.searchField(), above),
      make("div", {className: "v-scroll"}, table)
    ];
  }

  searchField() {
    const words = "search a class";
    const value = this.filter;
    const field = make("input", {type: "search", placeholder: words, ariaLabel: words, value});
    field.onchange = () => {
      this.filter = field.value.trim().toLowerCase();
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
    const head = make("th", {scope: "col"}, button(name + arrow, sort, {className: "v-link"}));
    const direction = this.falling ? "descending" : "ascending";
    head.setAttribute("aria-sort", sorted ? direction : "none");
    return head;
  }

  tableRow(c) {
    const cells = this.data.classes[c].row.map((value, i) => cellText(value, i));
    const rest = cells.slice(1).map((words) => make("td", {textContent: words}));
    return make("tr", {}, make("td", {}, this.link(c)), ...rest);
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
