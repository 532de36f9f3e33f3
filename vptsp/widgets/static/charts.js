// Charts of lines in SVG: scales, ticks, smoothing, and what is drawn between them.
import {svg} from "./svg.js";

// A function that takes [low, high] to [from, to].
export function linear(low, high, from, to) {
  return (value) => from + (value - low) / (high - low) * (to - from);
}

// The same on an axis of powers, where all is above zero.
export function logarithmic(low, high, from, to) {
  const place = linear(Math.log(low), Math.log(high), from, to);
  return (value) => place(Math.log(value));
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

// The same on an axis of powers: 1, 2, 5, 10, 20 and so on, or powers of ten where those are many.
export function powerTicks(low, high, most) {
  const found = (factors) => {
    const all = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
      all.push(...factors.map((factor) => +(factor * 10 ** power).toPrecision(8)));
    }
    return all.filter((value) => value >= low && value <= high);
  };
  const some = found([1, 2, 5]);
  if (some.length < 2) return ticks(low, high, most);
  return some.length > most ? found([1]) : some;
}

// The mean of a value and those before it, each weighed `weight` times as much as the next; the
// first ones too, as the weights of those that are there add up to one.
export function smoothed(values, weight) {
  let [sum, share] = [0, 0];
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + 1 - weight;
    return sum / share;
  });
}

// The place in `values` of the one nearest to `value`; -1 where there are none.
export function nearest(values, value) {
  let best = values.length ? 0 : -1;
  for (let i = 1; i < values.length; i++) {
    if (Math.abs(values[i] - value) < Math.abs(values[best] - value)) best = i;
  }
  return best;
}

// Places as they are, but moved apart to be `least` from one another, from the highest on.
export function apart(places, least) {
  const order = places.map((place, i) => i).sort((a, b) => places[a] - places[b]);
  const moved = [...places];
  for (let k = 1; k < order.length; k++) {
    moved[order[k]] = Math.max(places[order[k]], moved[order[k - 1]] + least);
  }
  return moved;
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

const CORNERS = {diamond: [[0, -4], [4, 0], [0, 4], [-4, 0]], triangle: [[0, -4], [4, 3], [-4, 3]]};

// The sign of a point: circle, square, diamond, triangle, or none; as a list, to append.
export function marker(shape, x, y, colour, radius = 3.2) {
  if (shape === "circle") {
    return [svg("circle", {cx: x, cy: y, r: radius, fill: colour})];
  }
  if (shape === "square") {
    return [svg("rect", {x: x - 3, y: y - 3, width: 6, height: 6, fill: colour})];
  }
  if (!(shape in CORNERS)) return [];
  const points = joined(CORNERS[shape].map(([right, down]) => [x + right, y + down]));
  return [svg("polygon", {points, fill: colour})];
}
