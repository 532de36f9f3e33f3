import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {epochsShown, partOf} from "../../vptsp/widgets/static/live.js";
import {
  digits, drawnLine, nextTime, valuesAt
} from "../../vptsp/widgets/static/live_panel.js";

const step = {
  name: "step", x: [.5, 1, 1.5], y: [4, 2, 2], color: "#0072b2", mark: "", smooth: true
};
const epoch = {name: "epoch", x: [1], y: [3], color: "#d55e00", mark: "circle", smooth: false};
const level = {name: "R@1, frozen", y: 40, color: "#0072b2"};

test("all values at a time are said, and of what time another one is", () => {
  const panel = {lines: [step, epoch].map((line) => drawnLine(line, false, 0)), levels: [level]};
  assert.deepEqual(valuesAt(panel, 1).map(([, words]) => words),
    ["step 2", "epoch 3", "R@1, frozen 40"]);
  assert.equal(valuesAt(panel, 1.5)[1][1], "epoch 3 at epoch 1");
});

test("a smoothed value has the raw one beside it, and quartiles are said", () => {
  const panel = {lines: [drawnLine(step, false, .5)], levels: []};
  assert.equal(valuesAt(panel, 1)[0][1], "step 2.667 (raw 2)");
  const band = {x: [1, 2], low: [.1, .2], high: [.3, .41234]};
  assert.equal(valuesAt({...panel, band}, 2)[1][1], "quartiles 0.2 and 0.4123");
});

test("only lines that may be are smoothed, and a log scale has no place for zero", () => {
  assert.deepEqual(drawnLine(epoch, false, .9).raw, null);
  const line = drawnLine({...step, y: [4, 0, 2]}, true, 0);
  assert.deepEqual([line.x, line.y], [[.5, 1.5], [4, 2]]);
});

test("arrow keys go from value to value and stay at the ends", () => {
  const times = [.5, 1, 1.5];
  assert.deepEqual([nextTime(times, null, 1), nextTime(times, null, -1)], [.5, 1.5]);
  assert.deepEqual([nextTime(times, 1, 1), nextTime(times, 1, -1)], [1.5, .5]);
  assert.deepEqual([nextTime(times, 1.5, 1), nextTime(times, .7, 1)], [1.5, 1]);
});

test("whole epochs are shown, and a part only as far as there is something", () => {
  assert.equal(epochsShown([{lines: [step]}], 9), 2);
  assert.equal(epochsShown([{lines: []}], 9), 1);
  assert.deepEqual(partOf([-1, 2], 8), [0, 2]);
  assert.equal(partOf([-1, 9], 8), null);
  assert.equal(partOf([3, 3], 8), null);
  assert.equal(digits(52.03), "52.03");
});
