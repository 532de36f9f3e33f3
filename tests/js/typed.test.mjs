import assert from "node:assert/strict";
import {test} from "node:test";
import {array, range, which} from "../../vptsp/widgets/static/typed.js";

test("bytes that begin anywhere are read as numbers", () => {
  const bytes = new Uint8Array(9);
  bytes.set([1, 0, 0, 0, 2, 1, 0, 0], 1);  // from the second byte on, where no Int32Array may begin
  const view = new DataView(bytes.buffer, 1, 8);
  assert.deepEqual([...array(Int32Array, view)], [1, 258]);
});

test("an array is a copy", () => {
  const bytes = new Uint8Array([1, 2]);
  const copy = array(Uint8Array, new DataView(bytes.buffer));
  copy[0] = 9;
  assert.equal(bytes[0], 1);
});

test("numbers below n, all and some", () => {
  assert.deepEqual(range(3), [0, 1, 2]);
  assert.deepEqual(which(6, (i) => i % 2), [1, 3, 5]);
});
