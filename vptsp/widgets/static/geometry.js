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

// Points sorted into the cells of a screen, so that the nearest is found among few.
export class PointGrid {
  // xs, ys: places of the points; skip(i): whether to leave one out
  constructor(xs, ys, width, height, skip = () => false, cell = 16) {
    this.xs = xs;
    this.ys = ys;
    this.cell = cell;
    this.across = Math.ceil(width / cell);
    this.down = Math.ceil(height / cell);
    const cells = this.across * this.down;
    const home = Int32Array.from(xs, (x, i) => {
      const y = ys[i];
      const outside = x < 0 || y < 0 || x >= width || y >= height;
      return outside || skip(i) ? -1 : Math.floor(y / cell) * this.across + Math.floor(x / cell);
    });
    this.first = new Int32Array(cells + 1);  // where the points of a cell begin
    for (const c of home) if (c >= 0) this.first[c + 1]++;
    for (let c = 0; c < cells; c++) this.first[c + 1] += this.first[c];
    this.points = new Int32Array(this.first[cells]);
    const next = this.first.slice();
    home.forEach((c, i) => {
      if (c >= 0) this.points[next[c]++] = i;
    });
  }

  // The point nearest to (x, y) and within `reach` (at most a cell), or -1; of two, the later.
  nearest(x, y, reach) {
    const column = Math.floor(x / this.cell);
    const row = Math.floor(y / this.cell);
    let best = -1;
    let least = reach ** 2;
    for (let r = Math.max(0, row - 1); r <= Math.min(this.down - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(this.across - 1, column + 1); c++) {
        const cell = r * this.across + c;
        for (let j = this.first[cell]; j < this.first[cell + 1]; j++) {
          const i = this.points[j];
          const distance = (this.xs[i] - x) ** 2 + (this.ys[i] - y) ** 2;
          if (distance > least || distance === least && i < best) continue;
          least = distance;
          best = i;
        }
      }
    }
    return best;
  }
}
