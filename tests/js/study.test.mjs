import assert from "node:assert/strict";
import {test} from "node:test";
import {StudyData} from "../../vptsp/widgets/static/study.js";

const bytes = (Type, numbers) => new DataView(Type.from(numbers).buffer);

// Three images of two classes at two epochs, one proxy.
const study = new StudyData({
  n: 3, epochs: [0, 5], low: -1, high: 1, wide: 2, splits: ["train", "query"],
  xy: [bytes(Uint16Array, [0, 0, 0, 0, 0, 0]), bytes(Uint16Array, [0, 65535, 0, 0, 0, 0])],
  stars: [{proxy: bytes(Uint16Array, [0, 0])}, {proxy: bytes(Uint16Array, [65535, 0])}],
  label: bytes(Int32Array, [0, 1, 1]), split: bytes(Uint8Array, [0, 0, 1]),
  near: bytes(Uint16Array, [1, 3, 2, 0, 1, 3]), worst: bytes(Int32Array, [2]),
  classes: [{name: "cat"}, {name: "dog"}],
  columns: [
    {name: "class", names: ["cat", "dog"], values: bytes(Int32Array, [0, 1, -1])},
    {name: "MAP@R", names: null, values: bytes(Float32Array, [.5, NaN, 1])}
  ]
});

test("places are between the lowest and the highest", () => {
  assert.deepEqual([...study.xy[1].slice(0, 3)], [-1, 1, -1]);
});

test("neighbours that are not there are left out", () => {
  assert.deepEqual(study.neighbours(0), [1]);
  assert.deepEqual(study.neighbours(1), [2, 0]);
});

test("an image has words", () => {
  assert.equal(study.describe(2), "dog (query)");
  assert.equal(study.valueText(study.columns[0], 2), "none");
  assert.equal(study.valueText(study.columns[1], 0), "0.50");
  assert.equal(study.valueText(study.columns[1], 1), "none");
});

test("a proxy moves from epoch to epoch, and stays at the last", () => {
  assert.deepEqual(study.proxyPlace("proxy", 0, .5), [0, -1]);
  assert.deepEqual(study.proxyPlace("proxy", 0, 1), [1, -1]);
});
