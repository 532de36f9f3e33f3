import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {TileSheet} from "../../vptsp/widgets/static/tiles.js";

const sheet = () => new TileSheet(new DataView(new ArrayBuffer(4)), 48, 3);

test("tiles lie row after row, and are cut half a pixel in", () => {
  assert.deepEqual(sheet().place(0), [.5, .5, 47, 47]);
  assert.deepEqual(sheet().place(4), [48.5, 48.5, 47, 47]);
  assert.deepEqual(sheet().place(8), [96.5, 96.5, 47, 47]);
});

test("a tile is drawn over its canvas as soon as the sheet is there", () => {
  const tiles = sheet();
  const early = tiles.canvas(4, 80);
  assert.equal(early.drawn.length, 0);
  tiles.image.arrive();
  const late = tiles.canvas(4, 80);
  const call = [tiles.image, 48.5, 48.5, 47, 47, 0, 0, 80, 80];
  assert.deepEqual(early.drawn, [call]);
  assert.deepEqual(late.drawn, [call]);
});
