// Charts of lines in SVG: scales, ticks, and what is drawn between them.
import {svg} from "./svg.js";

// A function that takes [low, high] to [from, to].
export function linear(low, high, from, to) {
  return (value) => from + (value - low) / (high - low) * (to - from);
}

// Round numbers from `low` to `high`, about `most` of them, `least` apart or more.
export function ticks(low, high, most, least = 0) {
  const raw = Math.max((high - low) / most, least);
  const ten = 10 ** Math.floor(Math.log10(raw));
  const step = ten * [1, 2, 5, 10].find((factor) => factor * ten >= raw * .999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-6 * step; i++) {
    found.push(+(i * step).toPrecision(8));
  }
  return found;
}

// The range of `values` with some room above and below.
export function padded(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = .07 * (high - low) || .05 * Math.abs(high) || 1;
  return [low - room, high + room];
}

export function text(x, y, words, attributes = {}) {
  return svg("text", {x, y, ...attributes}, words);
}

export function horizontal(y, from, to, attributes) {
  return svg("line", {x1: from, x2: to, y1: y, y2: y, ...attributes});
}

function joined(points) {
  return points.map(([x, y]) => `${x},${y}`).join(" ");
}

// A line through points [[x, y], ..].
export function polyline(points, colour, attributes = {}) {
  const line = {fill: "none", stroke: colour, "stroke-width": 2};
  return svg("polyline", {points: joined(points), ...line, ...attributes});
}

// The area between two lines of points.
export function band(upper, lower, colour) {
  const outline = [...upper, ...[...lower].reverse()];
  return svg("polygon", {points: joined(outline), fill: colour, opacity: .25});
}

// The sign of a point: circle, square, or none; as a list, to append.
export function marker(shape, x, y, colour, radius = 3.2) {
  if (shape === "circle") {
    return [svg("circle", {cx: x, cy: y, r: radius, fill: colour})];
  }
  if (shape === "square") {
    return [svg("rect", {x: x - 3, y: y - 3, width: 6, height: 6, fill: colour})];
  }
  return [];
}
