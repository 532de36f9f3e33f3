// The inspector's charts: lines over epochs or blocks, with both axes named.
import {horizontal, linear, marker, padded, polyline, text, ticks} from "./charts.js";
import {KINDS} from "./colours.js";
import {make} from "./dom.js";
import {POINTS} from "./inspector_words.js";
import {svg} from "./svg.js";

const CHART = {width: 330, height: 190, left: 62, right: 12, top: 8, bottom: 38};
const LABEL = {"font-size": 11, fill: "currentColor"};
const MIDDLE = {...LABEL, "text-anchor": "middle"};

function lineStyle(kind) {
  return {"stroke-dasharray": KINDS[kind]?.dash ?? ""};
}

function verticalAxis(limits, y, name) {
  const grid = {stroke: "currentColor", opacity: .25};
  const marks = ticks(...limits, 6).flatMap((value) => {
    const label = text(CHART.left - 5, y(value) + 4, value, {...LABEL, "text-anchor": "end"});
    return [horizontal(y(value), CHART.left, CHART.width - CHART.right, grid), label];
  });
  const middle = (CHART.top + CHART.height - CHART.bottom) / 2;
  return [...marks, text(11, middle, name, {...MIDDLE, transform: `rotate(-90 11 ${middle})`})];
}

function placeAxis(places, x, name) {
  const [first, last] = [places[0], places[places.length - 1]];
  const marks = first === last ? [first] : ticks(first, last, 9, 1);
  const labels = marks.map((place) => text(x(place), CHART.height - 22, place, MIDDLE));
  return [...labels, text((CHART.left + CHART.width) / 2, CHART.height - 5, name, MIDDLE)];
}

function valueText(value) {
  return String(+value.toPrecision(4));
}

// A point says its numbers under the pointer.
function chartPoint(kind, place, value, [px, py], across) {
  const colour = KINDS[kind]?.colour ?? "currentColor";
  const name = KINDS[kind]?.name ?? kind;
  const words = `${name}, ${across} ${place}: ${valueText(value)}`;
  return marker("circle", px, py, colour, 3).map((drawn) => {
    drawn.append(svg("title", {}, words));
    return drawn;
  });
}

// chart: {title, axes: [across, up], places: [epoch ..], series: {kind: [y ..]}}
export function kindsChart({title, axes: [across, up], places, series}) {
  const {width, height, left, right, top, bottom} = CHART;
  const limits = padded(Object.values(series).flat().filter(Number.isFinite));
  const ends = places.length > 1 ? [places[0], places[places.length - 1]]
    : [places[0] - 1, places[0] + 1];
  const x = linear(...ends, left + 8, width - right);
  const y = linear(...limits, height - bottom, top);
  const about = {role: "img", "aria-label": `${title}: ${up} over ${across}`};
  const chart = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, ...about});
  chart.append(...verticalAxis(limits, y, up), ...placeAxis(places, x, across));
  for (const [kind, ys] of Object.entries(series)) {
    const points = ys.map((value, i) => [x(places[i]), y(value)]);
    chart.append(polyline(points, KINDS[kind]?.colour ?? "currentColor", lineStyle(kind)));
    points.forEach((point, i) => {
      chart.append(...chartPoint(kind, places[i], ys[i], point, across));
    });
  }
  return chart;
}

export function chartKey(kinds) {
  return make("div", {className: "v-key"}, ...kinds.map((kind) => {
    const look = {stroke: KINDS[kind].colour, "stroke-width": 2, ...lineStyle(kind)};
    const size = {width: 30, height: 10, "aria-hidden": "true"};
    const sample = svg("svg", size, horizontal(5, 0, 30, look));
    return make("span", {}, sample, ` ${kinds.length > 1 ? POINTS[kind] : KINDS[kind].name}`);
  }));
}
