// One panel of curves over epochs: drawn, pointed at for values, dragged over for a part of it.
import {
  apart, band, horizontal, linear, logarithmic, marker, nearest, padded, polyline, powerTicks,
  smoothed, text, ticks
} from "./charts.js";
import {make} from "./dom.js";
import {svg} from "./svg.js";

const CHART = {width: 360, height: 196, left: 46, right: 12, top: 10, bottom: 36};
const BOTTOM = CHART.height - CHART.bottom;
const FROM = CHART.left;
const LEVEL_ROOM = 46;   // right of the chart, for the word beside a level
const MOST_MARKS = 40;   // points of a line that are marked one by one
const LEAST_DRAG = 6;    // a shorter one is a click

// A number as it is read: four digits.
export function digits(value) {
  return String(+value.toPrecision(4));
}

// The line as it is drawn: smoothed where it may be, without what a log scale has no place for.
export function drawnLine(line, log, weight) {
  const soft = line.smooth && weight ? smoothed(line.y, weight) : line.y;
  const kept = line.x.map((time, i) => i).filter((i) => !log || (soft[i] > 0 && line.y[i] > 0));
  const of = (values) => kept.map((i) => values[i]);
  return {...line, x: of(line.x), y: of(soft), raw: soft === line.y ? null : of(line.y)};
}

// The values of a line, and of its unsmoothed self, between two times and one point further.
function valuesBetween({x, y, raw}, [from, to]) {
  const inside = (time, i) => (x[i + 1] ?? time) >= from && (x[i - 1] ?? time) <= to;
  const places = x.map((time, i) => i).filter((i) => inside(x[i], i));
  return places.flatMap((i) => raw ? [y[i], raw[i]] : [y[i]]);
}

// What all curves are at a time, in words: [colour, words] each. A value of another time says so.
export function valuesAt({lines, levels, band: shaded}, time) {
  const found = lines.filter(({x}) => x.length).map((line) => {
    const i = nearest(line.x, time);
    const raw = line.raw ? ` (raw ${digits(line.raw[i])})` : "";
    const when = Math.abs(line.x[i] - time) > 1e-6 ? ` at epoch ${digits(line.x[i])}` : "";
    return [line.color, `${line.name} ${digits(line.y[i])}${raw}${when}`];
  });
  if (shaded?.x.length) {
    const i = nearest(shaded.x, time);
    const [low, high] = [shaded.low[i], shaded.high[i]].map(digits);
    found.push([lines[0].color, `quartiles ${low} and ${high}`]);
  }
  return [...found, ...levels.map(({name, y, color}) => [color, `${name} ${digits(y)}`])];
}

// The next time in `times` behind `at` (or before it, with a negative step).
export function nextTime(times, at, step) {
  if (at === null) return step > 0 ? times[0] : times.at(-1);
  const further = times.filter((time) => step > 0 ? time > at + 1e-9 : time < at - 1e-9);
  return (step > 0 ? further[0] : further.at(-1)) ?? at;
}

function swatch({color, mark}) {
  const drawn = [horizontal(6, 0, 20, {stroke: color, "stroke-width": 2})];
  const look = {viewBox: "0 0 20 12", width: 20, height: 12, "aria-hidden": "true"};
  return svg("svg", look, ...drawn, ...marker(mark, 10, 6, color));
}

export class Panel {
  constructor(view) {
    this.view = view;      // it knows what all panels share: the time pointed at, the part shown
    this.title = make("div", {className: "title"});
    this.legend = make("ul", {className: "legend"});
    this.chart = svg("svg", {tabindex: 0, role: "application"});
    this.values = make("div", {className: "values"});
    this.element = make("section", {}, this.title, this.legend, this.chart, this.values);
    this.dragged = null;
    this.listen();
  }

  listen() {
    const {chart, view} = this;
    chart.addEventListener("pointerdown", (event) => this.press(event));
    chart.addEventListener("pointermove", (event) => this.move(event));
    chart.addEventListener("pointerup", (event) => this.release(event));
    chart.addEventListener("pointercancel", () => this.letGo());
    chart.addEventListener("pointerleave", () => { if (!this.dragged) view.point(null); });
    chart.addEventListener("dblclick", () => view.zoom(null));
    chart.addEventListener("keydown", (event) => this.key(event));
    chart.addEventListener("focus", () => this.values.setAttribute("aria-live", "polite"));
    chart.addEventListener("blur", () => this.values.setAttribute("aria-live", "off"));
  }

  // A panel as Python makes it, `part` of its epochs, of `whole` epochs in all.
  draw(panel, {part, whole, log, smooth}) {
    const positive = panel.lines.some(({y}) => y.some((value) => value > 0));
    this.log = Boolean(log && panel.log && positive);
    const lines = panel.lines.map((line) => drawnLine(line, this.log, smooth));
    this.panel = {...panel, lines};
    this.part = part;
    this.title.textContent = panel.title + (this.log ? ", log scale" : "");
    this.chart.setAttribute("viewBox", `0 0 ${CHART.width} ${CHART.height}`);
    const help = "arrow keys read values, + and - zoom";
    this.chart.setAttribute("aria-label", `${panel.alt}. ${help}`);
    this.times = [...new Set(lines.flatMap(({x}) => x))].sort((a, b) => a - b);
    this.drawLegend(lines.filter(({y}) => y.length));
    this.chart.replaceChildren(...this.drawn(part[0] === 0 && part[1] === whole));
    this.point(this.view.at);
  }

  // Names side by side, as many in a row as there is room for; the page measures them.
  drawLegend(lines) {
    const names = lines.map((line) => {
      const words = make("bdi", {textContent: line.name});
      return make("li", {title: line.name}, swatch(line), words);
    });
    this.legend.replaceChildren(...names);
  }

  drawn(isWhole) {
    const {lines, levels, band: shaded, empty} = this.panel;
    const inside = lines.flatMap((line) => valuesBetween(line, this.part));
    const extremes = shaded ? [...shaded.low, ...shaded.high] : [];
    const values = [...inside, ...levels.map(({y}) => y), ...extremes];
    this.to = CHART.width - (levels.length ? LEVEL_ROOM : CHART.right);
    this.x = linear(...this.part, FROM, this.to);
    this.over = svg("g");
    if (!values.length) {
      const [x, y] = [(FROM + this.to) / 2, (CHART.top + BOTTOM) / 2];
      return [text(x, y, empty, {"text-anchor": "middle"}), this.over];
    }
    const limits = this.log ? padded(values.map(Math.log)).map(Math.exp) : padded(values);
    this.y = (this.log ? logarithmic : linear)(...limits, BOTTOM, CHART.top);
    const {width, height} = {width: this.to - FROM + 8, height: BOTTOM - CHART.top + 8};
    const box = {x: FROM - 4, y: CHART.top - 4, width, height};
    const inner = svg("svg", {...box, viewBox: `${box.x} ${box.y} ${width} ${height}`});
    if (shaded) inner.append(this.shade(shaded, lines[0].color));
    inner.append(...lines.flatMap((line) => this.curve(line)));
    return [...this.axes(limits, isWhole), ...this.drawLevels(levels), inner, this.over];
  }

  axes([low, high], isWhole) {
    const {x, y, to} = this;
    const middle = {"text-anchor": "middle"};
    const marks = (this.log ? powerTicks : ticks)(low, high, 5);
    const values = marks.flatMap((value) => [
      horizontal(y(value), FROM, to, {class: "grid"}),
      text(FROM - 5, y(value) + 4, value, {"text-anchor": "end"})
    ]);
    const times = ticks(...this.part, 6, isWhole ? 1 : 0);
    const labels = times.map((time) => text(x(time), BOTTOM + 15, time, middle));
    return [...values, ...labels, text((FROM + to) / 2, CHART.height - 5, "epoch", middle)];
  }

  // Dashed, each with its word at the right, where no curve is.
  drawLevels(levels) {
    const places = apart(levels.map(({y}) => this.y(y)), 12);
    return levels.flatMap(({name, label, y, color}, i) => {
      const look = {stroke: color, "stroke-dasharray": "6 4", "stroke-width": 1.5};
      const line = horizontal(this.y(y), FROM, this.to, {...look, "data-name": name});
      return [line, text(this.to + 5, places[i] + 4, label)];
    });
  }

  curve(line) {
    const points = (values) => line.x.map((time, i) => [this.x(time), this.y(values[i])]);
    const at = points(line.y);
    const drawn = [polyline(at, line.color, {"data-name": line.name})];
    if (line.raw) {
      const faint = {"data-raw": line.name, opacity: .45, "stroke-width": 1};
      drawn.unshift(polyline(points(line.raw), line.color, faint));
    }
    if (at.length > MOST_MARKS) return drawn;
    return [...drawn, ...at.flatMap(([x, y]) => marker(line.mark, x, y, line.color))];
  }

  shade({x: times, low, high}, colour) {
    const points = (values) => times.map((time, i) => [this.x(time), this.y(values[i])]);
    return band(points(high), points(low), colour);
  }

  // A line at a time, and what the curves are there.
  point(time) {
    this.over.replaceChildren(...this.chosen());
    const there = time !== null && this.times.length;
    if (!there) {
      this.values.replaceChildren();
      return;
    }
    if (time >= this.part[0] && time <= this.part[1]) this.over.append(...this.crosshair(time));
    const words = valuesAt(this.panel, time).map(([color, value]) => {
      const sign = make("i", {});
      sign.style.background = color;
      return make("span", {}, sign, make("bdi", {textContent: value}));
    });
    const when = make("b", {textContent: `epoch ${digits(time)}`});
    this.values.replaceChildren(when, ...words);
  }

  crosshair(time) {
    const at = this.x(time);
    const look = {x1: at, x2: at, y1: CHART.top, y2: BOTTOM, class: "at"};
    const dots = this.panel.lines.filter(({x}) => x.length).flatMap((line) => {
      const i = nearest(line.x, time);
      const inside = line.x[i] >= this.part[0] && line.x[i] <= this.part[1];
      return inside ? marker("circle", this.x(line.x[i]), this.y(line.y[i]), line.color, 4) : [];
    });
    return [svg("line", look), ...dots];
  }

  // The part that is dragged over.
  chosen() {
    if (!this.dragged) return [];
    const [from, to] = this.dragged.map((time) => this.x(time)).sort((a, b) => a - b);
    const look = {x: from, y: CHART.top, width: to - from, height: BOTTOM - CHART.top};
    return [svg("rect", {...look, class: "chosen"})];
  }

  // The time under the pointer, within what is shown.
  timeAt({clientX}) {
    const {left, width} = this.chart.getBoundingClientRect();
    const place = (clientX - left) / width * CHART.width;
    const time = linear(FROM, this.to, ...this.part)(place);
    return Math.min(Math.max(time, this.part[0]), this.part[1]);
  }

  press(event) {
    if (event.button) return;
    const time = this.timeAt(event);
    this.dragged = [time, time];
    this.chart.setPointerCapture(event.pointerId);
  }

  move(event) {
    const time = this.timeAt(event);
    if (this.dragged) this.dragged[1] = time;
    const i = nearest(this.times, time);
    this.view.point(i < 0 ? null : this.times[i]);
  }

  release() {
    const [from, to] = (this.dragged ?? [0, 0]).sort((a, b) => a - b);
    const wide = this.x(to) - this.x(from) >= LEAST_DRAG;
    this.letGo();
    if (wide) this.view.zoom([from, to]);
  }

  letGo() {
    this.dragged = null;
    this.point(this.view.at);
  }

  key(event) {
    const {view, times} = this;
    const [from, to] = this.part;
    const middle = view.at ?? (from + to) / 2;
    const half = (to - from) / 4;
    const does = {
      ArrowLeft: () => view.point(nextTime(times, view.at, -1)),
      ArrowRight: () => view.point(nextTime(times, view.at, 1)),
      Home: () => view.point(times[0]),
      End: () => view.point(times.at(-1)),
      "+": () => view.zoom([middle - half, middle + half]),
      "-": () => view.zoom([middle - 4 * half, middle + 4 * half]),
      Escape: () => { view.point(null); view.zoom(null); }
    }[event.key];
    if (!does || (!times.length && event.key !== "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }
}
