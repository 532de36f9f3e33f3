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

  // The images that there may be room for: those chosen first, then those that lines lead to.
  seen() {
    const {map} = this;
    if (!this.on || map.at.zoom < NEAREST || map.at.moving !== map.at.epoch) return [];
    const shown = 1 - map.hiddenCount / map.study.n;
    if (shown * map.points.count(map.box()) > 4 * MOST_SEEN) return [];
    const ids = map.inView();
    if (ids.length > MOST_SEEN) return [];
    const rank = (i) => map.chosen[i] ? 2 : this.near.has(i) ? 1 : 0;
    return ids.sort((a, b) => rank(b) - rank(a) || a - b);
  }

  paint(context) {
    const {map} = this;
    const {ratio, sheet} = map;
    this.near = new Set(map.lines().flatMap(({found}) => found));
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
      const isMeant = map.chosen[ids[k]] || this.near.has(ids[k]);
      context.globalAlpha = isFaint && !isMeant ? .45 : 1;
      sheet.drawAt(context, ids[k], x, y, side);
      context.lineWidth = frame;
      context.strokeStyle = map.colourOf(ids[k]);
      context.strokeRect(x - frame / 2, y - frame / 2, side + frame, side + frame);
    }
    context.globalAlpha = 1;
  }
}
