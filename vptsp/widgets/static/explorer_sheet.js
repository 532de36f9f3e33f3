// Thumbnails where there are more images than a page holds: those of a sample, and others from the
// kernel as they are looked at.
import {make} from "./dom.js";
import {TileSheet} from "./tiles.js";
import {array} from "./typed.js";

export class SampledSheet {
  // numbers: the images whose tiles `sheet` has, in order; ask(ids): for others, or null where
  // nobody can be asked
  constructor(sheet, numbers, ask) {
    Object.assign(this, {sheet, ask});
    this.side = sheet.side;
    this.found = new Map(Array.from(numbers, (i, tile) => [i, [sheet, tile]]));
    this.more = [];          // sheets that came later
    this.wanted = new Map(); // image -> canvases that wait for it
  }

  // Whether there is, or will be, a thumbnail of image `i`.
  has(i) {
    return this.found.has(i) || this.ask !== null;
  }

  whenReady(act) {
    this.sheet.whenReady(act);
  }

  draw(canvas, i) {
    if (this.found.has(i)) {
      const [sheet, tile] = this.found.get(i);
      sheet.draw(canvas, tile);
    } else if (this.ask) {
      if (!this.wanted.size) queueMicrotask(() => this.ask([...this.wanted.keys()]));
      this.wanted.set(i, [...this.wanted.get(i) ?? [], canvas]);
    }
  }

  drawAt(context, i, x, y, size) {
    const [sheet, tile] = this.found.get(i) ?? [];
    sheet?.drawAt(context, tile, x, y, size);
  }

  canvas(i, size) {
    const canvas = make("canvas", {width: size, height: size});
    this.draw(canvas, i);
    return canvas;
  }

  // Tiles that were asked for: a sheet, and the images that they are of.
  receive({tiles, side, across}, bytes) {
    const sheet = new TileSheet(bytes, side, across);
    this.more.push(sheet);
    for (const [tile, i] of tiles.entries()) {
      this.found.set(i, [sheet, tile]);
      for (const canvas of this.wanted.get(i) ?? []) sheet.draw(canvas, tile);
      this.wanted.delete(i);
    }
  }

  release() {
    for (const sheet of [this.sheet, ...this.more]) sheet.release();
  }
}

// The thumbnails of the explorer's payload. In a notebook the kernel is asked for those it lacks.
export function sheetOf(model, {sprite, side, across, tiles}) {
  const sheet = new TileSheet(sprite, side, across);
  if (!tiles) return sheet;
  const ask = model.send ? (ids) => model.send({tiles: ids}) : null;
  const sampled = new SampledSheet(sheet, array(Int32Array, tiles), ask);
  model.on("msg:custom", (content, [bytes]) => {
    if (content.tiles) sampled.receive(content, bytes);
  });
  return sampled;
}
