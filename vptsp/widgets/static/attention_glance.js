// All blocks and heads at a glance: a small map of the left image for each, as a table of buttons.
import {brightest} from "./attention_numbers.js";
import {BOTH, LOW, scale} from "./colours.js";
import {make} from "./dom.js";
import {range} from "./typed.js";

const ROLLOUT = "rollout takes all heads together";

// Red, green, blue and opacity of each patch of a map, on the map's own scale.
export function mapPixels(map, isDifference) {
  const most = brightest(map) || 1;
  const pixels = new Uint8ClampedArray(4 * map.length);
  map.forEach((value, patch) => {
    const share = isDifference ? (value / most + 1) / 2 : value / most;
    pixels.set([...scale(share, isDifference ? BOTH : LOW), 255], 4 * patch);
  });
  return pixels;
}

export class Glance {
  // choose({block, head}): called for a button that is pressed
  constructor(about, numbers, choose) {
    this.about = about;
    this.numbers = numbers;
    this.choose = choose;
    this.cells = new Map();
    this.drawn = "";          // of what the small maps are
    this.title = make("div");
    this.note = make("small");
    this.root = make("div", {className: "glance"}, this.title, this.table(), this.note);
  }

  get(name) {
    return this.numbers.get(name);
  }

  table() {
    const {heads, depth} = this.about;
    const top = [...range(heads), "mean"];
    const titles = top.map((textContent) => make("th", {textContent, scope: "col"}));
    const rows = range(depth).map((block) => this.row(block));
    const ariaLabel = "a small map for each block (down) and head (across)";
    const corner = make("tr", {}, make("th"), ...titles);
    return make("table", {ariaLabel, className: heads > 8 ? "small" : ""}, corner, ...rows);
  }

  row(block) {
    const head = make("th", {textContent: block, scope: "row"});
    const columns = range(this.about.heads + 1);  // the last is the mean
    const cells = columns.map((column) => make("td", {}, this.cell(block, column)));
    return make("tr", {}, head, ...cells);
  }

  cell(block, column) {
    const [down, across] = this.about.grid;
    const head = column < this.about.heads ? column : -1;
    const map = make("canvas", {width: across, height: down, ariaHidden: "true"});
    const strip = make("span");
    const button = make("button", {type: "button"}, map, strip);
    button.dataset.testid = `map-${block}-${head}`;
    button.onclick = () => this.choose({block, head});
    button.onkeydown = (event) => this.move(event, block, column);
    this.cells.set(`${block},${column}`, {button, map, strip, block, head});
    return button;
  }

  // One of the buttons is in the tab order, arrow keys move.
  move(event, block, column) {
    const to = {
      ArrowUp: [block - 1, column],
      ArrowDown: [block + 1, column],
      ArrowLeft: [block, column - 1],
      ArrowRight: [block, column + 1]
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = this.cells.get(to.join(","));
    if (!next || next.button.disabled) return;
    next.button.focus();
    next.button.click();
  }

  draw() {
    const {reader, shows} = this.about;
    const image = this.get("left");
    const show = this.get("show");
    const chosen = JSON.stringify([image, show, this.get("prompts"), this.numbers.get("prompt")]);
    const [low, high] = this.numbers.entropyLimits(image);
    for (const cell of this.cells.values()) {
      if (chosen !== this.drawn) this.drawMap(cell, image, show);
      this.describe(cell, image, [low, high]);
    }
    this.drawn = chosen;
    this.title.textContent = `${shows[show]}: block (down) and head (across)`;
    this.note.textContent =
      "Each map has its own scale. Strips: how widely the " +
      `${reader} looks (entropy), dark ${low.toFixed(2)}, bright ${high.toFixed(2)}; 1: evenly.`;
  }

  drawMap({map, block, head}, image, show) {
    const numbers = this.numbers.at(block, head);
    const context = map.getContext("2d");
    context.clearRect(0, 0, map.width, map.height);
    if (show === "rollout" && head >= 0) return;
    const pixels = mapPixels(numbers.map(image, show), show === "difference");
    context.putImageData(new ImageData(pixels, map.width, map.height), 0, 0);
  }

  describe({button, strip, block, head}, image, [low, high]) {
    const value = this.numbers.entropy(image, block, head);
    const on = block === this.get("block") && head === this.numbers.head();
    const where = head < 0 ? "mean of heads" : `head ${head}`;
    const off = this.get("show") === "rollout" && head >= 0;
    strip.style.background = `rgb(${scale((value - low) / (high - low || 1), LOW)})`;
    button.disabled = off;
    button.tabIndex = on ? 0 : -1;
    button.ariaPressed = on;
    button.title = off ? ROLLOUT : `block ${block}, ${where}: entropy ${value.toFixed(2)}`;
    button.ariaLabel = button.title;
  }
}
