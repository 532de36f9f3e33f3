// The attention viewer: what prompts do in each block and head, over one or two images.
import {Glance} from "./attention_glance.js";
import {AttentionNumbers, brightest} from "./attention_numbers.js";
import {ACCENT, BOTH, LOW, PALETTE, gradient, scale} from "./colours.js";
import {asRoot, make} from "./dom.js";
import {range} from "./typed.js";

const SIDE = 288;         // pixels of a picture
const BARS = 48;          // and of the bars below it
const CHOSEN = PALETTE[5];  // vermilion, beside the accent's blue
const FULL = .75;         // strength of the colours that were off
const FAINTEST = .4;      // opacity without attention, of that where there is most
const TRAITS = [
  "left", "right", "block", "head", "prompts", "prompt", "show", "patch", "strength"
];
const OF_PROMPTS = ["takes", "looks"];
const HELP = "Point at a patch, or go to a picture with the tab key and use the arrow keys; ";

// What to do with a picture, where some block has prompts or none has.
export function help(most) {
  return HELP + (most ? "a click keeps a patch and shows what it takes from each prompt."
    : "a click keeps a patch.");
}

function percent(share) {
  return `${(100 * share).toFixed(Math.abs(share) < .0995 ? 2 : 1)}%`;
}

function tested(element, name) {
  element.dataset.testid = name;
  return element;
}

function numbered(count, word) {
  return range(count).map((i) => [i, `${word} ${i}`]);
}

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

// Where an arrow key leads from a patch: to its neighbour, or nowhere; Escape leaves the picture.
export function patchAfter(key, patch, down, across) {
  const at = Math.max(patch, 0);
  const row = Math.floor(at / across);
  const column = at % across;
  const to = {
    ArrowUp: row > 0 ? at - across : at,
    ArrowDown: row < down - 1 ? at + across : at,
    ArrowLeft: column > 0 ? at - 1 : at,
    ArrowRight: column < across - 1 ? at + 1 : at,
    Escape: -1
  }[key];
  if (to === undefined) return null;
  return patch < 0 && to >= 0 ? 0 : to;
}

// Opacity of a patch over the picture: the more attention, the more colour.
export function opacity(share, strength) {
  return strength * (FAINTEST + (1 - FAINTEST) * Math.min(Math.abs(share), 1));
}

// Why a control does nothing; "" where it does something.
// state: {show, images, blocks, passes, prompts: of the block, most: prompts of any block}
export function whyOff(trait, {show, images, blocks, passes, prompts, most}) {
  const ofPrompts = OF_PROMPTS.includes(show);
  if (trait === "left" && images === 1) return "there is one image";
  if (trait === "block" && blocks === 1) return "there is one block";
  if (trait === "head" && show === "rollout") return "rollout takes all heads together";
  if (trait === "prompts" && !most) return "this model has no prompts";
  if (trait === "prompts" && passes === 1) return "the model has one set of prompts";
  if (trait === "prompt" && !prompts) return "this block has no prompts";
  if (trait === "prompt" && !ofPrompts) return "for views of what prompts give or look at";
  return "";
}

class AttentionView {
  constructor(model) {
    this.model = model;
    this.about = model.get("_about");
    [this.down, this.across] = this.about.grid;
    this.numbers = new AttentionNumbers(this.about, model.get("_maps"), (name) => this.get(name));
    this.pictures = this.about.images.map(({src}) => {
      const picture = new Image();
      picture.src = src;
      return picture;
    });
    this.fill = {};      // trait -> puts its value into its control
    this.maps = {};      // image -> numbers shown over it
    this.low = 0;
    this.high = 1;
    this.root = asRoot(make("div"), "vptsp-attention");
    this.root.append(this.controls(), this.main(), this.readout());
  }

  get(name) {
    return this.model.get(name);
  }

  set(changes) {
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.model.save_changes();
  }

  name(image) {
    return this.about.images[image].name;
  }

  // The images shown, each once.
  shown() {
    return [...new Set([this.get("left"), this.get("right")])].filter((image) => image >= 0);
  }

  // Controls: each is a label around one native element, for one trait.

  controls() {
    const {about} = this;
    const images = () => about.images.map(({name}, i) => [i, name]);
    const heads = () => [[-1, "mean of heads"], ...numbered(about.heads, "head")];
    const chosen = [this.choice("left", "image", images)];
    if (about.images.length > 1) {
      const others = () => [[-1, "nothing"], ...images()];
      chosen.push(this.choice("right", "beside it", others));
    }
    chosen.push(
      this.choice("prompts", "prompts", () => this.passNames()),
      this.choice("show", "show", () => this.showNames()),
      this.choice("prompt", "prompt", () => this.promptNames()),
      this.choice("block", "block", () => numbered(about.depth, "block")),
      this.choice("head", "head", heads),
      this.strength(),
      this.colours());
    return make("div", {className: "row", role: "group", ariaLabel: "What to show"}, ...chosen);
  }

  passNames() {
    const passes = Object.keys(this.about.passes);
    const named = passes.length > 1 ? passes.slice(1) : ["no prompts"];
    return named.map((name) => [name, name]);
  }

  // The views; of two there is nothing to see in a block without prompts.
  showNames() {
    const none = !this.numbers.promptCount();
    return Object.entries(this.about.shows)
      .map(([show, words]) => [show, words, none && OF_PROMPTS.includes(show)]);
  }

  promptNames() {
    return [[-1, "all of the block"], ...numbered(this.numbers.promptCount(), "prompt")];
  }

  choice(trait, words, options) {
    const select = tested(make("select", {ariaLabel: words}), trait);
    select.onchange = () => this.set({[trait]: JSON.parse(select.value)});
    this.fill[trait] = () => {
      select.replaceChildren(...options().map(([value, textContent, disabled = false]) =>
        make("option", {value: JSON.stringify(value), textContent, disabled})));
      const chosen = {prompt: this.numbers.prompt(), head: this.numbers.head()};
      select.value = JSON.stringify(chosen[trait] ?? this.get(trait));
      select.title = whyOff(trait, this.state());
      select.disabled = select.title !== "";
    };
    return make("label", {}, words, select);
  }

  // What decides which controls do something.
  state() {
    const {images, depth, passes} = this.about;
    return {
      show: this.get("show"),
      images: images.length,
      blocks: depth,
      passes: this.passNames().length,
      prompts: this.numbers.promptCount(),
      most: Math.max(...Object.values(passes).flatMap(({prompts}) => prompts))
    };
  }

  strength() {
    const limits = {type: "range", min: 0, max: 1, step: .05};
    const slider = make("input", {...limits, ariaLabel: "strength of the overlay"});
    tested(slider, "strength");
    slider.oninput = () => this.set({strength: Number(slider.value)});
    this.fill.strength = () => {
      slider.value = this.get("strength");
    };
    return make("label", {}, "strength", slider);
  }

  // Whether there are colours over the picture: their strength, or none.
  colours() {
    const box = tested(make("input", {type: "checkbox", ariaLabel: "colours"}), "colours");
    let before = FULL;
    box.onchange = () => this.set({strength: box.checked ? before : 0});
    this.fill.colours = () => {
      const strength = this.get("strength");
      before = strength || before;
      box.checked = strength > 0;
    };
    return make("label", {}, "colours", box);
  }

  // Pictures: image, overlay, and below it where the attention goes.

  main() {
    this.panels = {left: this.panel("left-picture"), right: this.panel("right-picture")};
    const figures = Object.values(this.panels).map(({figure}) => figure);
    const pictures = make("div", {className: "row"}, ...figures);
    return make("div", {className: "row"},
      make("div", {}, pictures, this.scaleBar()), this.smallMaps());
  }

  panel(name) {
    const height = Math.round(SIDE * this.down / this.across);
    const canvas = make("canvas", {tabIndex: 0, width: SIDE, height, role: "img"});
    const caption = make("figcaption");
    const note = make("small");
    const bars = make("canvas", {width: SIDE, height: BARS, role: "img"});
    tested(canvas, name);
    tested(caption, `${name}-shares`);
    tested(note, `${name}-bars-note`);
    tested(bars, `${name}-bars`);
    this.listen(canvas);
    const figure = make("figure", {}, canvas, caption, note, bars);
    return {canvas, caption, note, bars, figure};
  }

  listen(canvas) {
    canvas.onpointermove = (event) => this.say(this.patchAt(canvas, event));
    canvas.onpointerleave = () => this.say(this.get("patch"));
    canvas.onclick = (event) => {
      const patch = this.patchAt(canvas, event);
      this.set({patch: patch === this.get("patch") ? -1 : patch});
    };
    canvas.onkeydown = (event) => {
      const patch = patchAfter(event.key, this.get("patch"), this.down, this.across);
      if (patch === null) return;
      event.preventDefault();
      this.set({patch});
    };
  }

  patchAt(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * this.across);
    const row = Math.floor((event.clientY - box.top) / box.height * this.down);
    return clamp(row, this.down - 1) * this.across + clamp(column, this.across - 1);
  }

  // Where a patch is on a canvas: x, y, width, height, in whole pixels.
  patchBox(canvas, patch) {
    const x = (column) => Math.round(column * canvas.width / this.across);
    const y = (row) => Math.round(row * canvas.height / this.down);
    const column = patch % this.across;
    const row = Math.floor(patch / this.across);
    return [x(column), y(row), x(column + 1) - x(column), y(row + 1) - y(row)];
  }

  drawPicture(canvas, image) {
    const context = canvas.getContext("2d");
    const picture = this.pictures[image];
    const stops = this.get("show") === "difference" ? BOTH : LOW;
    context.globalAlpha = 1;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (picture.complete) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    this.maps[image].forEach((value, patch) => {
      const colour = scale((value - this.low) / (this.high - this.low), stops);
      context.globalAlpha = opacity(value / this.high, this.get("strength"));
      context.fillStyle = `rgb(${colour})`;
      context.fillRect(...this.patchBox(canvas, patch));
    });
    context.globalAlpha = 1;
    if (this.get("patch") >= 0) this.framePatch(canvas, this.get("patch"));
  }

  // White on black is seen on every colour.
  framePatch(canvas, patch) {
    const context = canvas.getContext("2d");
    const [x, y, width, height] = this.patchBox(canvas, patch);
    for (const [colour, lineWidth] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = lineWidth;
      context.strokeRect(x + 2, y + 2, width - 4, height - 4);
    }
  }

  // values: what is taken from each prompt; most: the largest of all images'
  drawBars({bars, note}, values, most) {
    const context = bars.getContext("2d");
    const even = this.numbers.evenKey();
    const patch = this.get("patch");
    const reader = patch < 0 ? `the ${this.about.reader}` : `patch ${patch}`;
    const height = (value) => (BARS - 1) * value / most;
    context.clearRect(0, 0, SIDE, BARS);
    bars.hidden = note.hidden = !values.length;
    if (!values.length) return;
    note.textContent = `What ${reader} takes from each prompt; dashed: even, ${percent(even)}`;
    const words = values.map((value, j) => `${j}: ${percent(value)}`).join(", ");
    bars.ariaLabel = `${reader} takes from each prompt: ${words}`;
    const step = SIDE / values.length;
    values.forEach((value, j) => {
      const tall = height(value);
      context.fillStyle = j === this.numbers.prompt() ? CHOSEN : ACCENT;
      context.fillRect(j * step + .5, BARS - tall, Math.max(step - 1, 1), tall);
    });
    this.drawEven(context, BARS - height(even));
  }

  drawEven(context, y) {
    context.strokeStyle = "#999";
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(SIDE, y);
    context.stroke();
  }

  describe({canvas, caption}, image) {
    const {about} = this;
    const show = this.get("show");
    const [prompts, others, patches] = this.numbers.shares(image).map(percent);
    const isBare = OF_PROMPTS.includes(show) && !this.numbers.promptCount();
    const none = isBare ? " (no prompts in this block)" : "";
    const head = this.numbers.head() < 0 ? "mean of heads" : `head ${this.numbers.head()}`;
    const where = `block ${this.get("block")}, ${head}`;
    caption.textContent =
      `${this.name(image)}${none}. In ${where}, the ${about.reader} gives ` +
      (this.state().most ? `${prompts} to prompts, ` : "") +
      `${others} to ${about.others}, ${patches} to patches.`;
    const map = this.maps[image];
    canvas.ariaLabel =
      `${this.name(image)}: ${about.shows[show]}, ${where}; ` +
      `most at patch ${map.indexOf(Math.max(...map))}. Arrow keys choose a patch.`;
  }

  // What the colours mean.

  scaleBar() {
    this.bar = tested(make("div", {className: "bar", role: "img"}), "scale");
    return this.bar;
  }

  drawScale() {
    const difference = this.get("show") === "difference";
    const unit = this.about.units[this.get("show")];
    const even = this.numbers.even();
    const colours = make("div");
    colours.style.height = "12px";
    colours.style.background = gradient(difference ? BOTH : LOW);
    const at = (share, element) => {
      element.style.left = `${100 * share}%`;
      return element;
    };
    const words = (share, textContent) => at(share, make("span", {textContent}));
    const inside = Math.min(.87, Math.max(.13, even / this.high));  // the words are not cut off
    const marks = even === null || even > this.high ? [] : [
      at(even / this.high, make("i")),
      at(inside, make("b", {textContent: `even ${percent(even)}`}))
    ];
    const lowest = words(0, difference ? percent(this.low) : "0");
    const highest = words(1, percent(this.high) + (this.isCut ? " or more" : ""));
    const what = make("small", {textContent: unit});
    this.bar.replaceChildren(colours, ...marks, lowest, highest, what);
    this.bar.ariaLabel = `colours from ${percent(this.low)} to ${percent(this.high)}, ${unit}`;
  }

  // The number under the pointer.

  readout() {
    this.said = tested(make("div", {ariaLive: "polite"}), "readout");
    return this.said;
  }

  say(patch) {
    if (patch < 0) {
      this.said.textContent = help(this.state().most);
      return;
    }
    const where = `row ${Math.floor(patch / this.across)}, column ${patch % this.across}`;
    const images = [this.get("left"), this.get("right")].filter((image) => image >= 0);
    const values = images.map((image) => `${this.name(image)} ${percent(this.maps[image][patch])}`);
    const unit = this.about.units[this.get("show")];
    this.said.textContent = `patch ${patch} (${where}): ${values.join(", ")} ${unit}`;
  }

  smallMaps() {
    this.glance = new Glance(this.about, this.numbers, (place) => this.set(place));
    return this.glance.root;
  }

  // All of it, as the traits say.

  draw() {
    for (const fill of Object.values(this.fill)) fill();
    this.measure();
    this.drawPanels();
    this.drawScale();
    this.glance.draw();
    this.say(this.get("patch"));
  }

  // The numbers over both pictures, and one range for their colours.
  measure() {
    const shown = this.shown();
    this.maps = Object.fromEntries(shown.map((image) => [image, this.numbers.map(image)]));
    const maps = Object.values(this.maps);
    this.high = Math.max(...maps.map(brightest), 1e-6);
    this.isCut = maps.some((map) => map.some((value) => Math.abs(value) > this.high));
    this.low = this.get("show") === "difference" ? -this.high : 0;
  }

  drawPanels() {
    const patch = this.get("patch");
    const taken = Object.fromEntries(
      this.shown().map((image) => [image, this.numbers.fromPrompts(image, patch)]));
    const most = Math.max(...Object.values(taken).flat(), this.numbers.evenKey());
    for (const [trait, panel] of Object.entries(this.panels)) {
      const image = this.get(trait);
      panel.figure.hidden = image < 0;
      if (image < 0) continue;
      this.drawPicture(panel.canvas, image);
      this.drawBars(panel, taken[image], most);
      this.describe(panel, image);
    }
  }
}

function render({model, el}) {
  const view = new AttentionView(model);
  const draw = () => view.draw();
  el.append(view.root);
  for (const trait of TRAITS) model.on(`change:${trait}`, draw);
  for (const picture of view.pictures) picture.addEventListener("load", draw);
  draw();
  return () => {
    for (const trait of TRAITS) model.off(`change:${trait}`, draw);
  };
}

export default {render};
