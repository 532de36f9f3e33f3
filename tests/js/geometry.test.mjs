import assert from "node:assert/strict";
import {test} from "node:test";
import {
  PointGrid, STAR, ahead, disc, inside, smoothDisc
} from "../../vptsp/widgets/static/geometry.js";

const square = [[0, 0], [10, 0], [10, 10], [0, 10]];

test("a lasso holds what it goes round", () => {
  assert.ok(inside(square, 5, 5));
  assert.ok(!inside(square, 15, 5));
  assert.ok(!inside(square, 5, -1));
});

test("drawn round twice, it is hollow", () => {
  assert.ok(!inside([...square, ...square], 5, 5));
});

test("a disc is round and has its middle", () => {
  assert.deepEqual(disc(1, 100).sort((a, b) => a - b), [-100, -1, 0, 1, 100]);
  assert.equal(disc(0, 100).length, 1);
});

test("a star has five points, the first above", () => {
  const sizes = STAR.map(({x, y}) => +Math.hypot(x, y).toFixed(6));
  assert.deepEqual(sizes, [1, .42, 1, .42, 1, .42, 1, .42, 1, .42]);
  assert.ok(Math.abs(STAR[0].x) < 1e-9 && Math.abs(STAR[0].y + 1) < 1e-9);
});

// A sequence of numbers between 0 and 1 that is the same every time.
function* numbers() {
  for (let state = 1; ;) {
    state = (state * 16807) % 2147483647;
    yield state / 2147483647;
  }
}

function nearestOfAll(places, x, y, reach) {
  let best = -1;
  let least = reach ** 2;
  for (let i = 0; i < places.length / 2; i++) {
    const distance = (places[2 * i] - x) ** 2 + (places[2 * i + 1] - y) ** 2;
    if (distance <= least) [best, least] = [i, distance];
  }
  return best;
}

function scattered() {
  const random = numbers();
  const draw = () => random.next().value;
  return [draw, Float32Array.from({length: 600}, draw)];
}

test("the grid finds what a search of all points finds, near, far and outside", () => {
  const [draw, places] = scattered();
  const grid = new PointGrid(places);
  for (let i = 0; i < 200; i++) {
    const [x, y, reach] = [3 * draw() - 1, 3 * draw() - 1, .5 * draw()];
    assert.equal(grid.nearest(x, y, reach), nearestOfAll(places, x, y, reach));
  }
});

test("what lies in a box is found in order, and counted not too low", () => {
  const [draw, places] = scattered();
  const grid = new PointGrid(places);
  const all = [...Array(300).keys()];
  for (let i = 0; i < 50; i++) {
    const [left, low] = [draw(), draw()];
    const box = [left, low, left + .3 * draw(), low + .3 * draw()];
    const isIn = (j) => places[2 * j] >= box[0] && places[2 * j] <= box[2]
      && places[2 * j + 1] >= box[1] && places[2 * j + 1] <= box[3] && j % 3;
    assert.deepEqual(grid.within(box, (j) => j % 3), all.filter(isIn));
    assert.ok(grid.count(box) >= all.filter(isIn).length);
  }
  assert.equal(grid.count([-1, -1, 2, 2]), 300);
});

test("of two points at one place the later is found, which is drawn on top", () => {
  assert.equal(new PointGrid([.5, .5, .5, .5]).nearest(.6, .5, .2), 1);
});

test("points that are hidden or too far away are not found, and of none there is none", () => {
  const grid = new PointGrid([0, 0, 1, 1]);
  assert.equal(grid.nearest(0, 0, .5, (i) => i !== 0), -1);
  assert.equal(grid.nearest(.5, .5, .5), -1);
  assert.equal(new PointGrid([]).nearest(.5, .5, 1), -1);
});

test("a smooth disc is full within and covered in part at its rim", () => {
  const {full, rim, covers} = smoothDisc(2.2, 100);
  assert.ok(full.includes(0) && full.includes(1) && !full.includes(3));
  assert.ok(covers.every((cover) => cover > 0 && cover < 1));
  assert.equal(new Set([...full, ...rim]).size, full.length + rim.length);
  const area = full.length + covers.reduce((sum, cover) => sum + cover, 0);
  assert.ok(Math.abs(area - Math.PI * 2.2 ** 2) < 1, area);
});

test("an arrow goes to the nearest in its direction, and nowhere where there is none", () => {
  const places = [[10, 0], [4, 5], [0, -3], [6, 1]];
  const go = (direction) => ahead([0, 0], direction, [0, 1, 2, 3], (i) => places[i]);
  assert.equal(go([1, 0]), 3);
  assert.equal(go([0, -1]), 2);
  assert.equal(go([0, 1]), 1);
  assert.equal(go([-1, 0]), -1);
});
