// The points of the explorer's map as pixels: a disc each, or how many lie on each pixel.
import {disc, smoothDisc} from "./geometry.js";

const CROWDED = .25;  // points a pixel; of more than that, their number is drawn
const SMOOTH = 1.5;     // pixels of radius from which on discs have smooth edges
const FAINTEST = 70;  // of 255: a pixel with one point where they are crowded
const TOP = 4000;     // points on a pixel; more look the same

export function isCrowded(n, span) {
  return n / span ** 2 > CROWDED;
}

// A colour over another, each as one number of 32 bits, where `cover` of the pixel is covered.
export function blend(below, colour, cover) {
  const over = cover * (colour >>> 24) / 255;
  const under = (below >>> 24) / 255 * (1 - over);
  const mix = (shift) => {
    const sum = (colour >>> shift & 255) * over + (below >>> shift & 255) * under;
    return Math.round(sum / (over + under)) << shift;
  };
  return (Math.round(255 * (over + under)) << 24 | mix(16) | mix(8) | mix(0)) >>> 0;
}

// Paints on the pixels of an image. `points` are {n, places, visible, chosen}, `view` says where
// they are on it: {left, bottom, span}. Of the points those are painted whose `chosen` is `pass`,
// or all for null.
export class PointPainter {
  constructor(image) {
    Object.assign(this, {width: image.width, height: image.height});
    this.pixels = new Uint32Array(image.data.buffer);
    this.sums = null;
  }

  clear() {
    this.pixels.fill(0);
  }

  // A disc each. Left out are those as near to the border as a disc of radius `margin` would be.
  discs({n, places, visible, chosen}, {left, bottom, span}, ink, pass, radius, margin) {
    const {width, height, pixels} = this;
    const border = Math.ceil(margin + .5);
    const isSmooth = radius >= SMOOTH;
    const flat = {full: disc(radius, width), rim: [], covers: []};
    const {full, rim, covers} = isSmooth ? smoothDisc(radius, width) : flat;
    for (let i = 0; i < n; i++) {
      if (!visible[i] || pass !== null && chosen[i] !== pass) continue;
      const x = left + places[2 * i] * span + .5 | 0;
      const y = bottom - places[2 * i + 1] * span + .5 | 0;
      if (x < border || y < border || x >= width - border || y >= height - border) continue;
      const middle = y * width + x;
      const colour = ink[i];
      for (let d = 0; d < full.length; d++) pixels[middle + full[d]] = colour;
      for (let d = 0; d < rim.length; d++) {
        const at = middle + rim[d];
        pixels[at] = blend(pixels[at], colour, covers[d]);
      }
    }
  }

  // How many there are on each pixel, by how strong it is, in the mean of their colours.
  density({n, places, visible, chosen}, {left, bottom, span}, ink, pass, strength) {
    const {width, height} = this;
    const sums = this.sums ??= new Float32Array(4 * width * height);
    let most = 1;
    sums.fill(0);
    for (let i = 0; i < n; i++) {
      if (!visible[i] || pass !== null && chosen[i] !== pass) continue;
      const x = left + places[2 * i] * span + .5 | 0;
      const y = bottom - places[2 * i + 1] * span + .5 | 0;
      if (x < 0 || y < 0 || x >= width || y >= height) continue;
      const at = 4 * (y * width + x);
      const colour = ink[i];
      const count = sums[at + 3] + 1;
      sums[at] += colour & 255;
      sums[at + 1] += colour >>> 8 & 255;
      sums[at + 2] += colour >>> 16 & 255;
      sums[at + 3] = count;
      if (count > most) most = count;
    }
    this.shade(sums, most, strength);
  }

  shade(sums, most, strength) {
    const top = Math.min(most, TOP);
    const alphas = Uint8Array.from({length: top + 1}, (_, count) => {
      return strength * (FAINTEST + (255 - FAINTEST) * Math.log(count) / Math.log(top + 1));
    });
    for (let p = 0, at = 0; p < this.pixels.length; p++, at += 4) {
      const count = sums[at + 3];
      if (!count) continue;
      const alpha = alphas[count < top ? count : top];
      const blueAndGreen = sums[at + 2] / count << 16 | sums[at + 1] / count << 8;
      this.pixels[p] = (alpha << 24 | blueAndGreen | sums[at] / count) >>> 0;
    }
  }
}
