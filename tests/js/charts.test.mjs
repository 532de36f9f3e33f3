import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {
  apart, band, linear, logarithmic, marker, nearest, padded, polyline, powerTicks, smoothed, ticks
} from "../../vptsp/widgets/static/charts.js";

test("ticks are round", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, .2, .4, .6, .8, 1]);
  assert.deepEqual(ticks(.13, .52, 4), [.2, .3, .4, .5]);
});

test("ticks of epochs are whole", () => {
  assert.deepEqual(ticks(0, 3, 8, 1), [0, 1, 2, 3]);
  assert.deepEqual(ticks(0, 40, 8, 1), [0, 5, 10, 15, 20, 25, 30, 35, 40]);
});

test("a scale takes its ends to its ends, also from above to below", () => {
  const y = linear(0, 4, 100, 20);
  assert.deepEqual([y(0), y(2), y(4)], [100, 60, 20]);
});

test("there is room around values, and around a single one", () => {
  const rounded = (values) => padded(values).map((value) => +value.toFixed(6));
  assert.deepEqual(rounded([0, 100]), [-7, 107]);
  assert.deepEqual(rounded([2, 2]), [1.9, 2.1]);
  assert.deepEqual(padded([0]), [-1, 1]);
});

test("a line goes through its points", () => {
  const line = polyline([[1, 2], [3, 4]], "#0072b2", {"data-name": "loss"});
  assert.equal(line.attributes.points, "1,2 3,4");
  assert.equal(line.attributes["data-name"], "loss");
});

test("a band goes along its upper line and back along the lower", () => {
  const area = band([[0, 5], [1, 6]], [[0, 1], [1, 2]], "#009e73");
  assert.equal(area.attributes.points, "0,5 1,6 1,2 0,1");
});

test("a point has the sign of its line, or none", () => {
  assert.equal(marker("circle", 1, 2, "red")[0].tagName, "circle");
  assert.equal(marker("square", 1, 2, "red")[0].attributes.x, "-2");
  assert.equal(marker("triangle", 1, 2, "red")[0].attributes.points, "1,-2 5,5 -3,5");
  assert.deepEqual(marker("", 1, 2, "red"), []);
  assert.deepEqual(marker(undefined, 1, 2, "red"), []);
});

test("on a log scale equal factors are equal ways, and the ticks are round", () => {
  const y = logarithmic(.01, 100, 100, 20);
  assert.deepEqual([.01, 1, 100].map((value) => Math.round(y(value))), [100, 60, 20]);
  assert.deepEqual(powerTicks(.15, 4, 5), [.2, .5, 1, 2]);
  assert.deepEqual(powerTicks(.0008, 90, 5), [.001, .01, .1, 1, 10]);
  assert.deepEqual(powerTicks(3.1, 3.9, 4), [3.2, 3.4, 3.6, 3.8]);
});

test("smoothing does not creep up from zero, and is as Python's", () => {
  assert.deepEqual(smoothed([4, 2], 0), [4, 2]);
  const rounded = (values) => values.map((value) => +value.toFixed(4));
  assert.deepEqual(rounded(smoothed([3, 3, 3], .9)), [3, 3, 3]);
  assert.deepEqual(rounded(smoothed([4, 2, 2], .5)), [4, 2.6667, 2.2857]);
});

test("the nearest of some values", () => {
  assert.deepEqual([nearest([1, 2, 4], 2.9), nearest([1, 2, 4], 9), nearest([], 1)], [1, 2, -1]);
});

test("words at levels that are close are moved apart, the others stay", () => {
  assert.deepEqual(apart([50, 44, 90], 12), [56, 44, 90]);
  assert.deepEqual(apart([], 12), []);
});
