// Whether (x, y) lies in a polygon [[x, y], ..]: a ray from there crosses an odd number of edges.
export function inside(polygon, x, y) {
  let odd = false;
  let [xb, yb] = polygon[polygon.length - 1];
  for (const [xa, ya] of polygon) {
    const crosses = (ya > y) !== (yb > y) && x < (xb - xa) * (y - ya) / (yb - ya) + xa;
    if (crosses) odd = !odd;
    [xb, yb] = [xa, ya];
  }
  return odd;
}

// Offsets of the pixels of a disc in an image `width` pixels wide, from its middle.
export function disc(radius, width) {
  const reach = Math.ceil(radius);
  const offsets = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      if (x * x + y * y <= radius * radius + .2) offsets.push(y * width + x);
    }
  }
  return offsets;
}

// Corners of a star with five points, the first above, in a circle of radius 1 around (0, 0).
export const STAR = Array.from({length: 10}, (_, i) => {
  const length = i % 2 ? .42 : 1;
  const angle = Math.PI * i / 5 - Math.PI / 2;
  return {x: length * Math.cos(angle), y: length * Math.sin(angle)};
});

// The nearest of `numbers` in a direction from a place, and within 45 degrees of it; or -1.
export function ahead([x, y], [dx, dy], numbers, placeOf) {
  let best = -1;
  let least = Infinity;
  for (const i of numbers) {
    const [px, py] = placeOf(i);
    const along = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (along <= 0 || aside > along) continue;
    const distance = along + aside;
    if (distance >= least) continue;
    least = distance;
    best = i;
  }
  return best;
}

// The same with smooth edges: offsets of the pixels that are full, and of those that are covered in
// part, with how much of each is.
export function smoothDisc(radius, width) {
  const reach = Math.ceil(radius + .5);
  const full = [];
  const rim = [];
  const covers = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = radius + .5 - Math.hypot(x, y);
      if (cover >= 1) full.push(y * width + x);
      if (cover >= 1 || cover <= 0) continue;
      rim.push(y * width + x);
      covers.push(cover);
    }
  }
  return {full, rim, covers};
}

const MOST_CELLS = 1024;  // a side

// Points of the plane sorted into cells, so that the nearest is found among few.
export class PointGrid {
  // places: x and y in turn
  constructor(places) {
    const n = places.length / 2;
    this.places = places;
    this.cells = Math.min(MOST_CELLS, Math.ceil(Math.sqrt(n / 2)) || 1);
    this.low = [Infinity, Infinity];
    const high = [-Infinity, -Infinity];
    for (let j = 0; j < 2 * n; j++) {
      const axis = j % 2;
      if (places[j] < this.low[axis]) this.low[axis] = places[j];
      if (places[j] > high[axis]) high[axis] = places[j];
    }
    this.side = Math.max(high[0] - this.low[0], high[1] - this.low[1]) / this.cells || 1;
    this.sort(n);
  }

  sort(n) {
    const {places, cells} = this;
    const home = new Int32Array(n);
    this.first = new Int32Array(cells * cells + 1);  // where the points of a cell begin
    for (let i = 0; i < n; i++) {
      home[i] = this.cell(places[2 * i + 1], 1) * cells + this.cell(places[2 * i], 0);
      this.first[home[i] + 1]++;
    }
    for (let c = 0; c < cells * cells; c++) this.first[c + 1] += this.first[c];
    this.points = new Int32Array(n);
    const next = this.first.slice();
    for (let i = 0; i < n; i++) this.points[next[home[i]]++] = i;
  }

  // The column (axis 0) or row (axis 1) of cells in which a coordinate is, the outer ones endless.
  cell(value, axis) {
    const c = Math.floor((value - this.low[axis]) / this.side);
    return c < 0 ? 0 : c < this.cells ? c : this.cells - 1;
  }

  // Where in `points` those begin and end that are in the cells that a box touches: a pair a row.
  * runs([left, low, right, high]) {
    const [from, to] = [this.cell(left, 0), this.cell(right, 0) + 1];
    for (let r = this.cell(low, 1); r <= this.cell(high, 1); r++) {
      yield [this.first[r * this.cells + from], this.first[r * this.cells + to]];
    }
  }

  // At least as many points as there are in a box: those of all cells that it touches.
  count(box) {
    let sum = 0;
    for (const [begin, end] of this.runs(box)) sum += end - begin;
    return sum;
  }

  // The points in a box that pass a test, in their order.
  within(box, test) {
    const [left, low, right, high] = box;
    const found = [];
    for (const [begin, end] of this.runs(box)) {
      for (let j = begin; j < end; j++) {
        const i = this.points[j];
        const [x, y] = [this.places[2 * i], this.places[2 * i + 1]];
        if (x >= left && x <= right && y >= low && y <= high && test(i)) found.push(i);
      }
    }
    return Array.from(Int32Array.from(found).sort());
  }

  // The point nearest to (x, y) and within `reach` that passes a test, or -1; of two, the later.
  nearest(x, y, reach, test = () => true) {
    let best = -1;
    let least = reach ** 2;
    for (const [begin, end] of this.runs([x - reach, y - reach, x + reach, y + reach])) {
      for (let j = begin; j < end; j++) {
        const i = this.points[j];
        const distance = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
        if (distance > least || distance === least && i < best || !test(i)) continue;
        least = distance;
        best = i;
      }
    }
    return best;
  }
}
