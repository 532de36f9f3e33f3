import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {SampledSheet, sheetOf} from "../../vptsp/widgets/static/explorer_sheet.js";
import {TileSheet} from "../../vptsp/widgets/static/tiles.js";

const bytes = () => new DataView(new ArrayBuffer(4));
const sheet = () => new TileSheet(bytes(), 48, 3);

test("a sample's tile is that of its image", () => {
  const sampled = new SampledSheet(sheet(), [2, 5, 90], null);
  sampled.sheet.image.arrive();
  assert.deepEqual(sampled.canvas(5, 80).drawn[0].slice(1, 3), [48.5, .5]);
});

test("images without a tile are asked for once, and drawn when they come", async () => {
  const asked = [];
  const sampled = new SampledSheet(sheet(), [2], (ids) => asked.push(ids));
  const [first, second, same] = [7, 9, 7].map((i) => sampled.canvas(i, 80));
  await Promise.resolve();
  assert.deepEqual(asked, [[7, 9]]);
  sampled.receive({tiles: [7, 9], side: 48, across: 2}, bytes());
  sampled.more[0].image.arrive();
  assert.deepEqual([first, second, same].map(({drawn}) => drawn[0][1]), [.5, 48.5, .5]);
  sampled.canvas(9, 80);
  await Promise.resolve();
  assert.equal(asked.length, 1);
});

test("where nobody can be asked, an image without a tile is known to have none", () => {
  const sampled = new SampledSheet(sheet(), [2], null);
  assert.ok(sampled.has(2) && !sampled.has(3));
  assert.deepEqual(sampled.canvas(3, 80).drawn, []);
  assert.ok(new SampledSheet(sheet(), [2], () => {}).has(3));
});

test("a payload with all tiles asks nobody; of a sample, the kernel if there is one", async () => {
  const sent = [];
  const heard = {};
  const model = {on: (event, act) => heard[event] = act, send: (content) => sent.push(content)};
  const payload = {sprite: bytes(), side: 48, across: 3, tiles: null};
  assert.ok(sheetOf(model, payload) instanceof TileSheet);
  const tiles = new DataView(Int32Array.of(4, 8).buffer);
  const sampled = sheetOf(model, {...payload, tiles});
  sampled.canvas(5, 80);
  await Promise.resolve();
  assert.deepEqual(sent, [{tiles: [5]}]);
  heard["msg:custom"]({tiles: [5], side: 48, across: 1}, [bytes()]);
  assert.ok(sampled.found.has(5));
  assert.equal(sheetOf({on() {}}, {...payload, tiles}).has(5), false);
});
