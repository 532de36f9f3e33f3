// A sheet of square thumbnails, row after row: Python's `sprite`.
import {make} from "./dom.js";
import {array} from "./typed.js";

export class TileSheet {
  constructor(bytes, side, across) {
    this.side = side;
    this.across = across;
    this.image = new Image();
    const file = new Blob([array(Uint8Array, bytes)], {type: "image/webp"});
    this.image.src = URL.createObjectURL(file);
  }

  // Where tile `i` is in the sheet: half a pixel in, or its neighbour would show.
  place(i) {
    const x = i % this.across * this.side + .5;
    const y = Math.floor(i / this.across) * this.side + .5;
    return [x, y, this.side - 1, this.side - 1];
  }

  has() {
    return true;
  }

  whenReady(act) {
    if (this.image.complete && this.image.naturalWidth) act();
    else this.image.addEventListener("load", act);
  }

  // Tile `i` over all of a canvas, as soon as the sheet is there.
  draw(canvas, i) {
    this.whenReady(() => {
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(this.image, ...this.place(i), 0, 0, canvas.width, canvas.height);
    });
  }

  // Tile `i` as a square of a drawing, if the sheet is there.
  drawAt(context, i, x, y, size) {
    if (!this.image.naturalWidth) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, ...this.place(i), x, y, size, size);
  }

  canvas(i, size) {
    const canvas = make("canvas", {width: size, height: size});
    this.draw(canvas, i);
    return canvas;
  }

  release() {
    URL.revokeObjectURL(this.image.src);
  }
}
