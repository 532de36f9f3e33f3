// Thumbnails in place of points, where the explorer's map is near enough that few are seen.
const MOST_SEEN = 250;  // images in the view
const NEAREST = 1.5;    // how far to zoom in at least
const SIDES = [26, 64]; // pixels of a thumbnail, at most half more than it has

// Those squares of a side around places that do not overlap one before them: their numbers.
export function apart(places, side) {
  const cells = new Map();
  const kept = [];
  for (const [k, [x, y]] of places.entries()) {
    const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
    let free = true;
    for (let r = row - 1; r <= row + 1 && free; r++) {
      for (let c = column - 1; c <= column + 1 && free; c++) {
        const other = cells.get(`${c} ${r}`);
        if (other) free = Math.abs(other[0] - x) >= side || Math.abs(other[1] - y) >= side;
      }
    }
    if (!free) continue;
    cells.set(`${column} ${row}`, [x, y]);
    kept.push(k);
  }
  return kept;
}

export class Thumbnails {
  constructor(map) {
    this.map = map;
    this.on = true;
    this.shown = 0;
    map.sheet.whenReady(() => map.draw());
  }

  // The images that there is room for, those chosen first.
  seen() {
    const {map} = this;
    if (!this.on || map.at.zoom < NEAREST || map.at.moving !== map.at.epoch) return [];
    const shown = 1 - map.hiddenCount / map.study.n;
    if (shown * map.points.count(map.box()) > 4 * MOST_SEEN) return [];
    const ids = map.inView();
    return ids.length > MOST_SEEN ? [] : ids.sort((a, b) => map.chosen[b] - map.chosen[a] || a - b);
  }

  paint(context) {
    const {map} = this;
    const {ratio, sheet} = map;
    const ids = this.seen();
    this.shown = ids.length;
    if (!ids.length) return;
    const roomy = .8 * Math.sqrt(map.width * map.height / ids.length);
    const side = Math.max(SIDES[0] * ratio, Math.min(roomy, SIDES[1] * ratio, 1.5 * sheet.side));
    const frame = 2 * ratio;
    const places = ids.map((i) => map.spot(i));
    const isFaint = map.isAside();
    for (const k of apart(places, side + 2 * frame)) {
      const [x, y] = places[k].map((middle) => middle - side / 2);
      context.globalAlpha = isFaint && !map.chosen[ids[k]] ? .45 : 1;
      context.fillStyle = map.colourOf(ids[k]);
      context.fillRect(x - frame, y - frame, side + 2 * frame, side + 2 * frame);
      sheet.drawAt(context, ids[k], x, y, side);
    }
    context.globalAlpha = 1;
  }
}
