// The map of the explorer: points and proxies on two canvases, and the hands that move them.
import {NONE, PALETTE, named, rgb, scale} from "./colours.js";
import {make} from "./dom.js";
import {PointGrid, STAR, disc, inside} from "./geometry.js";
import {which} from "./typed.js";

const REACH = 10;     // pixels from the pointer to an image that it still points at
const TIP_SIDE = 96;
const ARROWS = {
  ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]
};

// A pixel as one number of 32 bits, little-endian.
function pixel([red, green, blue], alpha = 255) {
  return (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
}

function columnColour(column, i) {
  const value = column.values[i];
  if (column.names) return rgb(named(value));
  if (Number.isNaN(value)) return rgb(NONE);
  return scale((value - column.low) / ((column.high - column.low) || 1));
}

function stroke(context, points, close = false) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  if (close) context.closePath();
  context.stroke();
}

function strokeCross(context, x, y, arm) {
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  context.moveTo(x, y - arm);
  context.lineTo(x, y + arm);
  context.stroke();
}

export class StudyMap {
  // choose(ids): what to do with images that were clicked or drawn around
  constructor(study, sheet, epoch, choose) {
    this.study = study;
    this.sheet = sheet;
    this.choose = choose;
    // places: of the images now, moving from epoch to epoch; x, y: how far the map was dragged
    this.at = {
      epoch, places: new Float32Array(study.xy[epoch]), zoom: 1, x: 0, y: 0, hover: -1,
      lasso: null, moving: epoch
    };
    this.hidden = new Set();                        // splits
    this.kinds = new Set(study.kinds.slice(0, 1));  // of proxies, shown
    this.picked = [];
    this.chosen = new Uint8Array(study.n);
    this.ink = new Uint32Array(study.n);
    this.faint = new Uint32Array(study.n);
    this.column = study.columns[0];
    this.trails = study.last > 0;
    this.lasso = false;
    this.held = null;
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.height = 0;
    this.waiting = true;                            // for a frame; at first, for `start`
    this.build();
    this.listen();
  }

  build() {
    const keys = "Arrow keys move, plus and minus zoom, Escape clears the selection.";
    const label = `${this.study.alt} ${keys}`;
    this.base = make("canvas");
    this.over = make("canvas", {tabIndex: 0, role: "application", ariaLabel: label});
    this.over.style.cursor = "grab";
    this.tipPicture = make("canvas", {width: TIP_SIDE, height: TIP_SIDE});
    this.tipText = make("div");
    const inTip = [this.tipPicture, this.tipText];
    this.tip = make("div", {className: "v-tip", hidden: true}, ...inTip);
    this.element = make("div", {className: "v-map"}, this.base, this.over, this.tip);
  }

  // Begin to draw, once the element is in the page.
  start() {
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.waiting = false;
    this.resize();
  }

  stop() {
    this.observer.disconnect();
  }

  resize() {
    const width = Math.max(200, Math.round(this.element.clientWidth * this.ratio));
    const height = Math.max(200, Math.round(this.element.clientHeight * this.ratio));
    if (width === this.width && height === this.height) return;
    for (const canvas of [this.base, this.over]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.width = width;
    this.height = height;
    this.image = this.base.getContext("2d").createImageData(width, height);
    this.moved();
  }

  // From the map's unit square to the canvas.

  span() {
    return Math.min(this.width, this.height) * .94 * this.at.zoom;
  }

  px(u) {
    return this.width / 2 + (u - .5) * this.span() + this.at.x * this.ratio;
  }

  py(v) {
    return this.height / 2 - (v - .5) * this.span() + this.at.y * this.ratio;
  }

  // Image `i` on the canvas.
  spot(i) {
    return [this.px(this.at.places[2 * i]), this.py(this.at.places[2 * i + 1])];
  }

  // Image `i` in the window.
  screen(i) {
    const box = this.over.getBoundingClientRect();
    const [x, y] = this.spot(i);
    return [box.left + x / this.ratio, box.top + y / this.ratio];
  }

  // What is drawn.

  colourBy(name) {
    this.column = this.study.column(name);
    for (let i = 0; i < this.study.n; i++) {
      const colour = columnColour(this.column, i);
      this.ink[i] = pixel(colour);
      this.faint[i] = pixel(colour, 50);
    }
    this.draw();
  }

  pick(ids) {
    this.picked = ids;
    this.chosen.fill(0);
    for (const i of ids) this.chosen[i] = 1;
    this.draw();
  }

  // Points lie elsewhere now, or other ones are shown.
  moved() {
    this.grid = null;
    this.draw();
  }

  draw() {
    if (!this.waiting) requestAnimationFrame(() => this.paint());
    this.waiting = true;
  }

  paint() {
    this.waiting = false;
    if (!this.width) return;
    const pixels = new Uint32Array(this.image.data.buffer);
    const {small, large} = this.radii();
    pixels.fill(0);
    if (this.picked.length) {
      this.paintPoints(pixels, this.faint, small, large, 0);
      this.paintPoints(pixels, this.ink, large, large, 1);  // the chosen last, on top
    } else {
      this.paintPoints(pixels, this.ink, small, large, null);
    }
    this.base.getContext("2d").putImageData(this.image, 0, 0);
    this.paintOver();
  }

  radii() {
    const {n} = this.study;
    const usual = n > 20000 ? 1.1 : n > 4000 ? 1.7 : 2.6;
    const zoomed = usual * Math.sqrt(Math.min(this.at.zoom, 6));
    const small = Math.max(1, Math.min(5, zoomed)) * this.ratio;
    return {small, large: small + 1.2 * this.ratio};
  }

  // The discs of those whose `chosen` is `pass`, or of all. All are left out as near to the border
  // as a large one would be.
  paintPoints(pixels, ink, radius, large, pass) {
    const {width, height, hidden, chosen} = this;
    const {n, split} = this.study;
    const {places} = this.at;
    const span = this.span();
    const left = width / 2 - .5 * span + this.at.x * this.ratio;
    const bottom = height / 2 + .5 * span + this.at.y * this.ratio;
    const reach = Math.ceil(large);
    const offsets = disc(radius, width);
    for (let i = 0; i < n; i++) {
      if (pass !== null && chosen[i] !== pass || hidden.has(split[i])) continue;
      const x = Math.round(left + places[2 * i] * span);
      const y = Math.round(bottom - places[2 * i + 1] * span);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      const middle = y * width + x;
      const colour = ink[i];
      for (let d = 0; d < offsets.length; d++) pixels[middle + offsets[d]] = colour;
    }
  }

  // Proxies, the ring around what is pointed at, and the lasso.
  paintOver() {
    const context = this.over.getContext("2d");
    const style = getComputedStyle(this.element);
    const foreground = style.color;
    const background = style.getPropertyValue("--v-back").trim() || "#fff";
    context.clearRect(0, 0, this.width, this.height);
    this.paintProxies(context, foreground, background);
    context.strokeStyle = foreground;
    context.lineWidth = 2 * this.ratio;
    if (this.at.hover >= 0) {
      context.beginPath();
      context.arc(...this.spot(this.at.hover), 7 * this.ratio, 0, 7);
      context.stroke();
    }
    if (this.at.lasso) {
      context.lineWidth = this.ratio;
      context.setLineDash([5 * this.ratio, 4 * this.ratio]);
      stroke(context, this.at.lasso.map(([x, y]) => [x * this.ratio, y * this.ratio]), true);
      context.setLineDash([]);
    }
  }

  paintProxies(context, foreground, background) {
    const {study, picked} = this;
    const focused = new Set(picked.map((i) => study.label[i]));
    if (this.at.hover >= 0) focused.add(study.label[this.at.hover]);
    const few = study.proxied.length <= 40;
    for (const [p, label] of study.proxied.entries()) {
      const focus = focused.has(label);
      if (picked.length && !focus) continue;
      const byClass = this.column.name === "class";
      const colour = byClass ? PALETTE[label % PALETTE.length] : foreground;
      const look = {colour, background, focus, clear: focus || few};
      if (this.trails && study.last && this.kinds.size) this.paintTrail(context, p, look);
      for (const kind of this.kinds) this.paintProxy(context, kind, p, look);
    }
  }

  // Where a proxy is on the canvas.
  proxySpot(kind, p, moment) {
    const [u, v] = this.study.proxyPlace(kind, p, moment);
    return [this.px(u), this.py(v)];
  }

  paintTrail(context, p, {colour, focus, clear}) {
    const [kind] = this.kinds;
    const points = [];
    for (let epoch = 0; epoch <= Math.floor(this.at.moving); epoch++) {
      points.push(this.proxySpot(kind, p, epoch));
    }
    points.push(this.proxySpot(kind, p, this.at.moving));
    context.strokeStyle = colour;
    context.globalAlpha = clear ? .9 : .25;
    context.lineWidth = (focus ? 1.6 : 1) * this.ratio;
    stroke(context, points);
    context.globalAlpha = 1;
  }

  // A full star, an empty star, or a cross.
  paintProxy(context, kind, p, {colour, background, clear}) {
    const [x, y] = this.proxySpot(kind, p, this.at.moving);
    const radius = (clear ? 8 : 4.5) * this.ratio;
    context.globalAlpha = clear ? 1 : .75;
    if (kind === "bias") {
      context.strokeStyle = colour;
      context.lineWidth = 2 * this.ratio;
      strokeCross(context, x, y, radius * .7);
    } else {
      const full = kind === "proxy";
      context.lineWidth = this.ratio;
      context.strokeStyle = full ? background : colour;
      context.fillStyle = full ? colour : background;
      context.beginPath();
      for (const corner of STAR) context.lineTo(x + radius * corner.x, y + radius * corner.y);
      context.closePath();
      context.fill();
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // What is pointed at.

  under(x, y) {
    this.grid ??= this.makeGrid();
    return this.grid.nearest(x * this.ratio, y * this.ratio, REACH * this.ratio);
  }

  makeGrid() {
    const {n, split} = this.study;
    const xs = Float64Array.from({length: n}, (_, i) => this.px(this.at.places[2 * i]));
    const ys = Float64Array.from({length: n}, (_, i) => this.py(this.at.places[2 * i + 1]));
    return new PointGrid(xs, ys, this.width, this.height, (i) => this.hidden.has(split[i]));
  }

  hover(i, x, y) {
    if (i !== this.at.hover) {
      this.at.hover = i;
      this.paintOver();
      if (i >= 0) this.fillTip(i);
    }
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const {clientWidth, clientHeight} = this.element;
    this.tip.style.left = `${Math.min(x + 14, clientWidth - 130)}px`;
    this.tip.style.top = `${y > clientHeight - 150 ? y - 145 : y + 14}px`;
  }

  fillTip(i) {
    const {study, column} = this;
    this.tipPicture.getContext("2d").clearRect(0, 0, TIP_SIDE, TIP_SIDE);
    this.sheet.draw(this.tipPicture, i);
    const told = column.name === "class" || column.name === "split";
    const value = told ? "" : `, ${column.name}: ${study.valueText(column, i)}`;
    this.tipText.textContent = study.describe(i) + value;
  }

  // The images within a line drawn on the map.
  within(polygon) {
    const {n, split} = this.study;
    const drawn = polygon.map(([x, y]) => [x * this.ratio, y * this.ratio]);
    return which(n, (i) => !this.hidden.has(split[i]) && inside(drawn, ...this.spot(i)));
  }

  // Time.

  goTo(epoch) {
    const {at} = this;
    const from = {places: new Float32Array(at.places), moment: at.moving};
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const lasts = still ? 0 : 500;
    const start = performance.now();
    at.epoch = epoch;
    const run = at.run = {};
    const step = (now) => {
      if (at.run !== run) return;  // another epoch was asked for meanwhile
      const share = lasts ? Math.min(1, Math.max(0, (now - start) / lasts)) : 1;
      this.moveTo(epoch, from, share * share * (3 - 2 * share));
      if (share < 1) requestAnimationFrame(step);
    };
    step(start);
  }

  moveTo(epoch, from, share) {
    const {places} = this.at;
    const to = this.study.xy[epoch];
    for (let j = 0; j < places.length; j++) {
      places[j] = from.places[j] + share * (to[j] - from.places[j]);
    }
    this.at.moving = from.moment + share * (epoch - from.moment);
    this.grid = null;
    this.paint();
  }

  // Hands.

  zoom(factor, x = this.element.clientWidth / 2, y = this.element.clientHeight / 2) {
    const {at} = this;
    const zoom = Math.min(Math.max(at.zoom * factor, .5), 200);
    const applied = zoom / at.zoom;
    const fromMiddle = [x - this.element.clientWidth / 2, y - this.element.clientHeight / 2];
    at.zoom = zoom;
    at.x = fromMiddle[0] - (fromMiddle[0] - at.x) * applied;
    at.y = fromMiddle[1] - (fromMiddle[1] - at.y) * applied;
    this.moved();
  }

  pan(x, y) {
    this.at.x = x;
    this.at.y = y;
    this.moved();
  }

  whole() {
    this.at.zoom = 1;
    this.pan(0, 0);
  }

  setLasso(on) {
    this.lasso = on;
    this.over.style.cursor = on ? "crosshair" : "grab";
  }

  // Where on the map an event happened.
  spotOf(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  listen() {
    const {over} = this;
    over.onpointerdown = (event) => this.press(event);
    over.onpointermove = (event) => this.drag(event);
    over.onpointerup = () => this.release();
    over.onpointerleave = () => {
      if (!this.held) this.hover(-1);
    };
    over.ondblclick = () => this.whole();
    over.onkeydown = (event) => this.key(event);
    const wheel = (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * .0015), ...this.spotOf(event));
    };
    over.addEventListener("wheel", wheel, {passive: false});
  }

  press(event) {
    const from = this.spotOf(event);
    const lasso = event.shiftKey || this.lasso;
    this.held = {from, x: this.at.x, y: this.at.y, moved: false, lasso};
    this.over.setPointerCapture(event.pointerId);
    if (lasso) this.at.lasso = [from];
    this.hover(-1);
  }

  drag(event) {
    const {held} = this;
    const [x, y] = this.spotOf(event);
    if (!held) {
      this.hover(this.under(x, y), x, y);
      return;
    }
    const [dx, dy] = [x - held.from[0], y - held.from[1]];
    if (Math.hypot(dx, dy) > 4) held.moved = true;
    if (held.lasso) {
      this.at.lasso.push([x, y]);
      this.paintOver();
    } else if (held.moved) {
      this.pan(held.x + dx, held.y + dy);
    }
  }

  release() {
    const {held} = this;
    const line = this.at.lasso;
    this.held = this.at.lasso = null;
    if (!held) return;
    if (held.lasso && held.moved) {
      this.choose(this.within(line));
    } else if (!held.moved) {
      const i = this.under(...held.from);
      this.choose(i < 0 ? [] : [i]);
    } else {
      this.paintOver();
    }
  }

  key(event) {
    const {at} = this;
    const arrow = ARROWS[event.key];
    if (arrow) this.pan(at.x + arrow[0], at.y + arrow[1]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "Escape") this.choose([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
