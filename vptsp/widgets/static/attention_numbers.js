// The numbers that the attention viewer shows, from the arrays that Python packed.
import {array, range} from "./typed.js";

// From where on the colours of a map get no brighter: one patch in fifty may have more, as some
// take so much that nothing else would be seen.
export function brightest(map) {
  const sizes = [...map].map(Math.abs).sort((a, b) => a - b);
  return sizes[Math.ceil(.98 * (sizes.length - 1))] || sizes[sizes.length - 1];
}

// What is chosen is asked of `get(trait)`: prompts, block, head (-1: all), prompt (-1: all), show.
export class AttentionNumbers {
  // about: where things are; packed: bytes
  constructor(about, packed, get) {
    const [rows, exact] = about.maps;  // maps of a byte a patch, and of a float a patch
    const [down, across] = about.grid;
    const {buffer} = array(Uint8Array, packed);
    this.about = about;
    this.get = get;
    this.patches = down * across;
    this.top = new Float32Array(buffer, 0, rows);
    this.floats = new Float32Array(buffer, 4 * rows, exact * this.patches);
    this.bytes = new Uint8Array(buffer, 4 * (rows + exact * this.patches));
  }

  given() {
    return this.about.passes[this.get("prompts")];
  }

  pass(show = this.get("show")) {
    return show === "without" ? this.about.passes["no prompts"] : this.given();
  }

  promptCount() {
    return this.given().prompts[this.get("block")];
  }

  // The prompt chosen, or -1: a block may have fewer than another.
  prompt() {
    return this.get("prompt") < this.promptCount() ? this.get("prompt") : -1;
  }

  // The head chosen, or -1: rollout takes all together.
  head() {
    return this.get("show") === "rollout" ? -1 : this.get("head");
  }

  heads() {
    return this.head() < 0 ? range(this.about.heads) : [this.head()];
  }

  // The numbers of another block and head, all else as it is chosen.
  at(block, head) {
    const other = Object.create(this);
    const here = {block, head};
    other.get = (name) => here[name] ?? this.get(name);
    return other;
  }

  overHeads(value) {
    const heads = this.heads();
    return heads.reduce((sum, head) => sum + value(head), 0) / heads.length;
  }

  // Map number `i` of those of an image in the block, where each image has `count`.
  exactMap(start, image, i, count) {
    const before = (this.get("block") * this.about.images.length + image) * count + i;
    const from = (start + before) * this.patches;
    return this.floats.subarray(from, from + this.patches);
  }

  // The row of the map of what is taken from prompt `j`; beyond the prompts: what they look at.
  promptRow(pass, image, head, j) {
    const block = this.get("block");
    const perHead = 2 * pass.prompts[block];
    return pass.blocks[block] + (image * this.about.heads + head) * perHead + j;
  }

  // The numbers over the patches of an image.
  map(image, show = this.get("show")) {
    if (show === "difference") {
      const without = this.map(image, "without");
      return this.map(image, "with").map((value, i) => value - without[i]);
    }
    const pass = this.pass(show);
    if (show === "rollout") return this.exactMap(pass.rollout, image, 0, 1);
    if (show === "with" || show === "without") return this.reads(pass, image);
    return this.promptMap(pass, image, show);
  }

  reads(pass, image) {
    const {heads} = this.about;
    const maps = this.heads().map((head) => this.exactMap(pass.reads, image, head, heads));
    const mean = (i) => maps.reduce((sum, map) => sum + map[i], 0) / maps.length;
    return Float32Array.from({length: this.patches}, (_, i) => mean(i));
  }

  // Sum over prompts of what is taken from them, or the mean of what they look at.
  promptMap(pass, image, show) {
    const count = pass.prompts[this.get("block")];
    const prompts = this.prompt() < 0 ? range(count) : [this.prompt()];
    const looks = show === "looks";
    const parts = this.heads().length * (looks ? Math.max(prompts.length, 1) : 1);
    const map = new Float32Array(this.patches);
    for (const head of this.heads()) {
      for (const j of prompts) {
        const row = this.promptRow(pass, image, head, looks ? count + j : j);
        const share = this.top[row] / 255 / parts;
        const from = row * this.patches;
        for (let i = 0; i < map.length; i++) map[i] += share * this.bytes[from + i];
      }
    }
    return map;
  }

  // What the reader, or the patch chosen, takes from each prompt.
  fromPrompts(image, patch) {
    const given = this.given();
    const exact = given.to[this.get("block")][image];
    return range(this.promptCount()).map((j) => this.overHeads((head) => {
      if (patch < 0) return exact[head][j];
      const row = this.promptRow(given, image, head, j);
      return this.top[row] * this.bytes[row * this.patches + patch] / 255;
    }));
  }

  // Attention spread evenly over keys: of one, or of all prompts; null where it says nothing.
  even() {
    const show = this.get("show");
    if (show === "rollout" || show === "difference") return null;
    const pass = this.pass();
    const block = this.get("block");
    const keys = show === "takes" && this.prompt() < 0 ? pass.prompts[block] : 1;
    return keys / pass.keys[block];
  }

  evenKey() {
    return 1 / this.given().keys[this.get("block")];
  }

  // To prompts, to other tokens, to patches.
  shares(image) {
    const shares = this.given().shares[this.get("block")][image];
    return range(3).map((i) => this.overHeads((head) => shares[head][i]));
  }

  // Entropy of a head, or of all; and the lowest and highest of the image's.
  entropy(image, block, head) {
    const heads = this.pass().entropy[block][image];
    return head < 0 ? heads.reduce((sum, value) => sum + value) / heads.length : heads[head];
  }

  entropyLimits(image) {
    const all = this.pass().entropy.flatMap((block) => block[image]);
    return [Math.min(...all), Math.max(...all)];
  }
}
