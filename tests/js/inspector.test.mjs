import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {chartKey, kindsChart} from "../../vptsp/widgets/static/inspector_chart.js";
import {explained, placeBeside} from "../../vptsp/widgets/static/tips.js";
import {make} from "../../vptsp/widgets/static/dom.js";

const AXES = ["epoch", "cosine"];

function drawn(chart, tag) {
  return chart.children.filter(({tagName}) => tagName === tag);
}

function words(chart) {
  return drawn(chart, "text").map(({children}) => String(children[0]));
}

test("a chart names both of its axes, and has its curves at the epochs that were kept", () => {
  const series = {proxy: [1, .9, .8], semantic: [1, .7, .5], bias: [1, .95, .9]};
  const chart = kindsChart({title: "duty", axes: AXES, places: [0, 3, 4], series});
  assert.ok(words(chart).includes("epoch") && words(chart).includes("cosine"));
  const lines = drawn(chart, "polyline").map(({attributes}) => attributes);
  assert.equal(new Set(lines.map((line) => line["stroke-dasharray"])).size, 3);
  const [a, b, c] = lines[0].points.split(" ").map((point) => Number(point.split(",")[0]));
  assert.ok(Math.abs((b - a) - 3 * (c - b)) < 1e-6);
  assert.equal(drawn(chart, "circle").length, 9);
  assert.match(String(drawn(chart, "circle")[5].children[0].children[0]), /memory.*epoch 4: 0\.5$/);
});

test("cosines below zero keep their sign", () => {
  const chart = kindsChart({title: "duty", axes: AXES, places: [0, 1], series: {proxy: [-.4, .4]}});
  assert.ok(words(chart).includes("-0.2"));
});

test("one epoch is one point", () => {
  const chart = kindsChart({title: "duty", axes: AXES, places: [7], series: {proxy: [.5]}});
  const [circle] = drawn(chart, "circle");
  assert.ok(Number.isFinite(Number(circle.attributes.cx)));
  assert.ok(words(chart).includes("7"));
});

test("a key says what the points are; a free proxy is no mixture", () => {
  const named = (kinds) => chartKey(kinds).children.map(({children}) => children[1].trim());
  assert.deepEqual(named(["proxy", "semantic", "bias"]), [
    "proxy: the mixture that the loss uses", "memory: gathered from images", "bias: learned"
  ]);
  assert.deepEqual(named(["proxy"]), ["proxy"]);
});

test("a sentence stands below, or above where there is no room", () => {
  const window = {width: 400, height: 300};
  const size = {width: 100, height: 50};
  const below = placeBeside({left: 20, top: 10, bottom: 30}, size, window);
  assert.deepEqual(below, {left: 20, top: 30});
  const above = placeBeside({left: 390, top: 270, bottom: 290}, size, window);
  assert.deepEqual(above, {left: 296, top: 220});
  const wide = placeBeside({left: -30, top: 0, bottom: 9}, {width: 500, height: 9}, window);
  assert.equal(wide.left, 4);
});

test("a sentence shows under the pointer and with the focus; Escape closes it alone", () => {
  const button = make("button");
  const owner = explained(button, ["How far.", "1 - cos"]);
  const bubble = owner.children[1];
  let open = false;
  button.isConnected = true;
  bubble.matches = () => open;
  bubble.showPopover = () => open = true;
  bubble.hidePopover = () => open = false;
  button.matches = () => true;
  const box = {left: 0, top: 0, bottom: 9, width: 9, height: 9};
  button.getBoundingClientRect = bubble.getBoundingClientRect = () => box;
  globalThis.innerWidth = globalThis.innerHeight = 300;
  owner.onpointerenter();
  assert.ok(open);
  owner.onpointerleave();
  assert.ok(!open);
  button.onfocus();
  assert.ok(open);
  let stopped = 0;
  const escape = {key: "Escape", stopPropagation: () => stopped += 1};
  owner.onkeydown(escape);
  owner.onkeydown(escape);
  assert.ok(!open && stopped === 1);
  assert.equal(button.ariaDescription, "How far. 1 - cos");
});
