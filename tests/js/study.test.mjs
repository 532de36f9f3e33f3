import assert from "node:assert/strict";
import {test} from "node:test";
import {StudyData} from "../../vptsp/widgets/static/study.js";

const bytes = (Type, numbers) => new DataView(Type.from(numbers).buffer);

// Three images of two classes at two epochs, one proxy.
const study = new StudyData({
  n: 3, epochs: [0, 5], low: -1, high: 1, wide: 2, splits: ["train", "query"],
  xy: [bytes(Uint16Array, [0, 0, 0, 0, 0, 0]), bytes(Uint16Array, [0, 65535, 0, 0, 0, 0])],
  stars: [{proxy: bytes(Uint16Array, [0, 0])}, {proxy: bytes(Uint16Array, [65535, 0])}],
  proxied: [1], cosine: bytes(Int16Array, [9000, 0, 5000, -2500, 5000, 0]),
  star_near: bytes(Int32Array, [2, 0]), star_cosine: bytes(Int16Array, [8000, 1000]),
  rival: bytes(Int32Array, [-1]), rival_cosine: bytes(Int16Array, [0]),
  label: bytes(Int32Array, [0, 1, 1]), split: bytes(Uint8Array, [0, 0, 1]),
  near: bytes(Uint16Array, [1, 3, 2, 0, 1, 3]), worst: bytes(Int32Array, [2]),
  classes: [{name: "cat", rate: null}, {name: "dog", rate: .5}],
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

test("cosines come back from whole numbers", () => {
  assert.equal(study.cosineTo(1, 1), -.25);
  assert.deepEqual(study.nearestToProxy(0), [[2, .8], [0, .1]]);
});

test("a proxy has words, also where there is no other", () => {
  assert.equal(study.describeProxy(0), "proxy of dog, R@1 50%");
  assert.equal(study.rateText(study.classes[0]), "no R@1");
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
