import assert from "node:assert/strict";
import {test} from "node:test";
import {PointGrid, STAR, ahead, disc, inside} from "../../vptsp/widgets/static/geometry.js";

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

function nearestOfAll(xs, ys, x, y, reach) {
  let best = -1;
  let least = reach ** 2;
  xs.forEach((px, i) => {
    const distance = (px - x) ** 2 + (ys[i] - y) ** 2;
    if (distance <= least) [best, least] = [i, distance];
  });
  return best;
}

test("the grid finds what a search of all points finds", () => {
  const random = numbers();
  const draw = (n, most) => Array.from({length: n}, () => random.next().value * most);
  const [xs, ys] = [draw(300, 200), draw(300, 100)];
  const grid = new PointGrid(xs, ys, 200, 100);
  for (let i = 0; i < 200; i++) {
    const [x, y] = [random.next().value * 200, random.next().value * 100];
    assert.equal(grid.nearest(x, y, 10), nearestOfAll(xs, ys, x, y, 10));
  }
});

test("of two points at one place the later is found, which is drawn on top", () => {
  assert.equal(new PointGrid([5, 5], [5, 5], 20, 20).nearest(6, 5, 10), 1);
});

test("points that are hidden or beyond the screen are not found", () => {
  const hidden = new PointGrid([5, 25, -1], [5, 5, 5], 20, 20, (i) => i === 0);
  assert.equal(hidden.nearest(5, 5, 10), -1);
  assert.equal(hidden.nearest(19, 5, 10), -1);
});

test("an arrow goes to the nearest in its direction, and nowhere where there is none", () => {
  const places = [[10, 0], [4, 5], [0, -3], [6, 1]];
  const go = (direction) => ahead([0, 0], direction, [0, 1, 2, 3], (i) => places[i]);
  assert.equal(go([1, 0]), 3);
  assert.equal(go([0, -1]), 2);
  assert.equal(go([0, 1]), 1);
  assert.equal(go([-1, 0]), -1);
});
