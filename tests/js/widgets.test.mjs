import assert from "node:assert/strict";
import {test} from "node:test";
import {patchAfter} from "../../vptsp/widgets/static/attention.js";
import {modeOf} from "../../vptsp/widgets/static/explorer_hands.js";
import {cellText, compareCells, pageAfter} from "../../vptsp/widgets/static/inspector.js";
import {SavedModel, savedState} from "../../vptsp/widgets/static/page.js";

test("arrow keys move over patches and stop at the border", () => {
  assert.equal(patchAfter("ArrowRight", 5, 4, 4), 6);
  assert.equal(patchAfter("ArrowRight", 7, 4, 4), 7);
  assert.equal(patchAfter("ArrowUp", 5, 4, 4), 1);
  assert.equal(patchAfter("ArrowDown", -1, 4, 4), 0);
  assert.equal(patchAfter("Escape", 5, 4, 4), -1);
  assert.equal(patchAfter("a", 5, 4, 4), null);
});

test("a table sorts both ways, with what is missing at its end", () => {
  const sorted = (falling) => [2, null, 3].sort((a, b) => compareCells(a, b, falling));
  assert.deepEqual(sorted(true), [3, 2, null]);
  assert.deepEqual(sorted(false), [2, 3, null]);
  assert.ok(compareCells("cat", "dog", false) < 0);
});

test("a cell has no minus zero, and a dash for what is missing", () => {
  assert.deepEqual([-1e-8, -.0125, null, 12].map((v, i) => cellText(v, [2, 2, 2, 1][i])),
    ["0.000", "-0.012", "–", "12"]);
});

test("arrow keys turn pages and stop at the ends, Escape leads to the table", () => {
  assert.deepEqual(["ArrowLeft", "ArrowRight", "Escape", "a"].map((key) => pageAfter(key, 1, 3)),
    [0, 2, -1, null]);
  assert.equal(pageAfter("ArrowLeft", 0, 3), 0);
  assert.equal(pageAfter("ArrowRight", 2, 3), 2);
  assert.equal(pageAfter("ArrowRight", -1, 3), null);
});

test("the state of a page has its bytes again", () => {
  const state = savedState({payload: {places: [{bytes: "AQI="}], names: null}, epoch: 3});
  const [view] = state.payload.places;
  assert.deepEqual([view.getUint8(0), view.getUint8(1)], [1, 2]);
  assert.equal(state.payload.names, null);
  assert.equal(state.epoch, 3);
});

test("a saved model tells of what changed, once it is saved", () => {
  const model = new SavedModel({epoch: 0});
  const heard = [];
  model.on("change:epoch", () => heard.push(model.get("epoch")));
  model.set("epoch", 0);
  model.save_changes();
  model.set("epoch", 2);
  assert.deepEqual(heard, []);
  model.save_changes();
  model.save_changes();
  assert.deepEqual(heard, [2]);
});

test("Shift adds and Alt removes", () => {
  const modes = [{}, {shiftKey: true}, {altKey: true}, {shiftKey: true, altKey: true}].map(modeOf);
  assert.deepEqual(modes, ["replace", "add", "remove", "remove"]);
});
