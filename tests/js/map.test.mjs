// What the explorer's map draws: points as pixels, thumbnails and names.
import assert from "node:assert/strict";
import {test} from "node:test";
import {Names, middles} from "../../vptsp/widgets/static/explorer_names.js";
import {PointPainter, blend, isCrowded} from "../../vptsp/widgets/static/explorer_points.js";
import {apart} from "../../vptsp/widgets/static/explorer_tiles.js";

const RED = 0xff0000ff;
const BLUE = 0xffff0000;
const VIEW = {left: 0, bottom: 100, span: 100};

function painter() {
  return new PointPainter({width: 100, height: 100, data: new Uint8ClampedArray(4 * 100 * 100)});
}

function pointsAt(...places) {
  const n = places.length;
  const visible = new Uint8Array(n).fill(1);
  return {n, places: Float32Array.from(places.flat()), visible, chosen: new Uint8Array(n)};
}

function at({pixels}, x, y) {
  return pixels[y * 100 + x] >>> 0;
}

test("a colour over another is mixed by what it covers, over nothing it is itself", () => {
  assert.equal(blend(0, RED, .5), (128 << 24 | 255) >>> 0);
  assert.equal(blend(BLUE, RED, 1), RED);
  assert.equal(blend(BLUE, RED, .5), (255 << 24 | 128 << 16 | 128) >>> 0);
});

test("a disc lies where its point is, fades at its rim, and the later is on top", () => {
  const made = painter();
  const points = pointsAt([.5, .5], [.5, .5], [.2, .2]);
  made.discs(points, VIEW, [RED, BLUE, RED], null, 3, 3);
  assert.equal(at(made, 50, 50), BLUE);
  assert.equal(at(made, 20, 80), RED);
  const rim = at(made, 20, 77) >>> 24;
  assert.ok(rim > 0 && rim < 255, rim);
  assert.equal(at(made, 20, 75), 0);
});

test("hidden points, others than the pass, and those at the border are left out", () => {
  const made = painter();
  const points = pointsAt([.5, .5], [.7, .5], [.9, .5], [.001, .5]);
  points.visible[0] = 0;
  points.chosen[2] = 1;
  made.discs(points, VIEW, [RED, RED, RED, RED], 0, 1, 2);
  const painted = [50, 70, 90, 0].map((x) => at(made, x, 50));
  assert.deepEqual(painted, [0, RED, 0, 0]);
});

test("density is stronger where more points lie, in the mean of their colours", () => {
  const made = painter();
  const many = Array(40).fill([.3, .5]);
  const points = pointsAt(...many, [.6, .5], [.8, .5], [.8, .5]);
  const ink = [...many.map(() => BLUE), RED, RED, BLUE];
  made.density(points, VIEW, ink, null, 1);
  const [crowd, one, two] = [30, 60, 80].map((x) => at(made, x, 50));
  assert.ok(crowd >>> 24 > two >>> 24 && two >>> 24 > one >>> 24 && one >>> 24 > 0);
  assert.equal(crowd & 0xffffff, 0xff0000);
  assert.equal(two & 0xffffff, 127 << 16 | 127);
});

test("a million points on a screen are a crowd, and no longer once it is zoomed in", () => {
  assert.ok(isCrowded(1e6, 500));
  assert.ok(!isCrowded(6e4, 500));
  assert.ok(!isCrowded(1e6, 2500));
});

test("thumbnails that are kept do not overlap, the first goes before, and no room is left", () => {
  const places = Array.from({length: 300}, (_, i) => [i * 37 % 211, i * 91 % 173]);
  const kept = apart(places, 20);
  const apartBy = (a, b, axis) => Math.abs(places[a][axis] - places[b][axis]);
  const overlap = (a, b) => [0, 1].every((axis) => apartBy(a, b, axis) < 20);
  assert.equal(kept[0], 0);
  for (const a of kept) for (const b of kept) assert.ok(a === b || !overlap(a, b));
  for (const k of places.keys()) assert.ok(kept.some((a) => overlap(a, k)));
});

test("a group has its name at its middle; one scattered or hidden has none", () => {
  const places = [.1, .1, .1, .2, .1, .9, .9, .9, .8, .9, 0, 0, .5, .5];
  const values = [0, 0, 0, 1, 1, 2, 2];
  const visible = new Uint8Array([1, 1, 1, 1, 1, 1, 1]);
  const found = middles(values, 3, places, visible);
  assert.deepEqual(found.map(([value, count]) => [value, count]), [[0, 3], [1, 2]]);
  assert.deepEqual(found[0].slice(2).map((x) => +x.toFixed(3)), [.1, .2]);
  const corners = [[.1, .2], [.2, .1], [.15, .3]];
  const [[, , x, y]] = middles([0, 0, 0], 1, corners.flat(), visible);
  assert.ok(corners.some(([u, v]) => u === x && v === y));   // at an image, not between them
  visible[3] = visible[4] = 0;
  assert.deepEqual(middles(values, 3, places, visible).map(([value]) => value), [0]);
});

test("names are of groups, of classes when near, and never of answers", () => {
  const columns = ["class", "R@1", "change", "super"].map((name) => ({name, names: ["a", "b"]}));
  const study = {columns, column: (name) => columns.find((c) => c.name === name)};
  const named = (column, zoom) => new Names({study, column, at: {zoom}}).column().name;
  assert.deepEqual(columns.map((column) => named(column, 1)), ["class", "super", "super", "super"]);
  assert.deepEqual(columns.map((column) => named(column, 4)), Array(4).fill("class"));
});
