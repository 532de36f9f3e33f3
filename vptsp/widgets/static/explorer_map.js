// The map of the explorer: points and proxies on two canvases, and the hands that move them.
import {NONE, RIGHT, WRONG, named, rgb, scale} from "./colours.js";
import {make} from "./dom.js";
import {Hands} from "./explorer_hands.js";
import {Names} from "./explorer_names.js";
import {PointPainter, isCrowded} from "./explorer_points.js";
import {Stars, stroke} from "./explorer_stars.js";
import {Thumbnails} from "./explorer_tiles.js";
import {PointGrid, ahead, inside} from "./geometry.js";
import {which} from "./typed.js";

const REACH = 10;     // pixels from the pointer to an image that it still points at
const TIP_SIDE = 96;
const MOST_LINED = 3;  // images whose neighbours are joined to them by lines
const STEPS = 250;     // colours that numbers are shown in
const ASIDE = 120;     // of 255: how strong images are while others are chosen

// A pixel as one number of 32 bits, little-endian.
function pixel([red, green, blue]) {
  return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
}

// Of a column's values, as pixels: a function of the image.
function inksOf(column) {
  const {values, low, high} = column;
  const none = pixel(rgb(NONE));
  if (column.names) {
    const colour = (value) => column.colours?.[value] ?? named(value);
    const inks = column.names.map((_, value) => pixel(rgb(colour(value))));
    return (i) => values[i] < 0 ? none : inks[values[i]];
  }
  const inks = Array.from({length: STEPS + 1}, (_, step) => pixel(scale(step / STEPS)));
  return (i) => {
    const share = (values[i] - low) / ((high - low) || 1);
    return share >= 0 ? inks[Math.round(STEPS * Math.min(share, 1))] : none;
  };
}

export class StudyMap {
  // choose(ids, mode): what to do with images that were clicked or drawn around; open(p): with a
  // proxy; back(): with what was chosen before
  constructor(study, sheet, epoch, {choose, open, back}) {
    Object.assign(this, {study, sheet, choose, open, back});
    // places: of the images now, moving from epoch to epoch; x, y: how far the map was dragged;
    // hover, star: image and proxy that are pointed at; proxy: the one that is open
    this.at = {
      epoch, places: new Float32Array(study.xy[epoch]), zoom: 1, x: 0, y: 0, hover: -1,
      star: -1, proxy: -1, lasso: null, moving: epoch
    };
    this.hidden = new Set();                        // splits
    this.visible = new Uint8Array(study.n).fill(1);
    this.hiddenCount = 0;
    this.test = null;                               // which images a filter lets through
    this.picked = [];
    this.labels = new Set();                        // of those that are picked
    this.chosen = new Uint8Array(study.n);
    this.ink = new Uint32Array(study.n);
    this.faint = new Uint32Array(study.n);
    this.column = study.columns[0];
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.height = 0;
    this.waiting = true;                            // for a frame; at first, for `start`
    this.stars = new Stars(this);
    this.names = new Names(this);
    this.build();
    this.thumbnails = new Thumbnails(this);
    this.hands = new Hands(this);
  }

  build() {
    const keys = "Arrow keys go from image to image, Enter chooses one, Shift and arrows move the "
      + "map, plus and minus zoom, Escape clears the selection.";
    const label = `${this.study.alt} ${keys}`;
    this.base = make("canvas");
    this.over = make("canvas", {tabIndex: 0, role: "application", ariaLabel: label});
    this.over.style.cursor = "grab";
    this.tipPicture = make("canvas", {width: TIP_SIDE, height: TIP_SIDE});
    this.tipText = make("div");
    const inTip = [this.tipPicture, this.tipText];
    this.tip = make("div", {className: "v-tip", hidden: true}, ...inTip);
    const words = "Ctrl and the wheel zoom; or click the map first.";
    this.hint = make("div", {className: "v-hint", hidden: true, textContent: words});
    const crowd = "So many images that the map shows how many lie where; zoom in for each.";
    this.crowd = make("div", {className: "v-crowd", hidden: true, textContent: crowd});
    const layers = [this.base, this.over, this.tip, this.crowd, this.hint];
    this.element = make("div", {className: "v-map"}, ...layers);
  }

  // Begin to draw, once the element is in the page.
  start() {
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.waiting = false;
    this.resize();
  }

  // So that the first hover need not wait: sort the points, and have the browser unpack the sheet.
  prepare() {
    this.under(0, 0);
    const tip = this.tipPicture.getContext("2d");
    this.sheet.draw(this.tipPicture, 0);
    tip.getImageData(0, 0, 1, 1);
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
    this.painter = new PointPainter(this.image);
    this.draw();
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
    return this.screenOf(this.spot(i));
  }

  screenOf([x, y]) {
    const box = this.over.getBoundingClientRect();
    return [box.left + x / this.ratio, box.top + y / this.ratio];
  }

  // What is drawn.

  colourBy(name) {
    this.column = this.study.column(name);
    const inkOf = inksOf(this.column);
    for (let i = 0; i < this.study.n; i++) {
      this.ink[i] = inkOf(i);
      this.faint[i] = (this.ink[i] & 0xffffff | ASIDE << 24) >>> 0;
    }
    this.draw();
  }

  colourOf(i) {
    const colour = this.ink[i];
    return `rgb(${colour & 255} ${colour >>> 8 & 255} ${colour >>> 16 & 255})`;
  }

  pick(ids) {
    this.picked = ids;
    this.chosen.fill(0);
    for (const i of ids) this.chosen[i] = 1;
    this.labels = new Set(ids.map((i) => this.study.label[i]));
    this.draw();
  }

  draw() {
    if (!this.waiting) requestAnimationFrame(() => this.paint());
    this.waiting = true;
  }

  paint() {
    this.waiting = false;
    if (!this.width) return;
    this.painter.clear();
    this.crowd.hidden = !isCrowded(this.study.n - this.hiddenCount, this.span());
    if (this.isAside()) {
      this.paintPoints(this.faint, 0);
      this.paintPoints(this.ink, 1);  // the chosen last, on top
    } else {
      this.paintPoints(this.ink, null);
    }
    const context = this.base.getContext("2d");
    context.putImageData(this.image, 0, 0);
    this.thumbnails.paint(context);
    this.stars.paint(context);
    this.paintOver();
  }

  // Whether images stand back behind those that are chosen.
  isAside() {
    return this.picked.length > 0 || this.at.proxy >= 0;
  }

  // Those whose `chosen` is `pass`, or all for null.
  paintPoints(ink, pass) {
    const {painter, visible, chosen, at} = this;
    const points = {n: this.study.n, places: at.places, visible, chosen};
    const view = {left: this.px(0), bottom: this.py(0), span: this.span()};
    const {small, large} = this.radii();
    if (!this.crowd.hidden && pass !== 1) {
      painter.density(points, view, ink, pass, pass === null ? 1 : ASIDE / 255);
    } else {
      painter.discs(points, view, ink, pass, pass === 1 ? large : small, large);
    }
  }

  radii() {
    const {n} = this.study;
    const usual = n > 20000 ? 1.1 : n > 4000 ? 1.7 : 2.6;
    const zoomed = usual * Math.sqrt(Math.min(this.at.zoom, 6));
    const small = Math.max(1, Math.min(5, zoomed)) * this.ratio;
    return {small, large: small + 1.2 * this.ratio};
  }

  // The colours of words and of what is behind them.
  get theme() {
    const style = getComputedStyle(this.element);
    const background = style.getPropertyValue("--v-back").trim() || "#fff";
    return {foreground: style.color, background};
  }

  // What is chosen or pointed at, names, and the lasso.
  paintOver() {
    const context = this.over.getContext("2d");
    const {foreground, background} = this.theme;
    context.clearRect(0, 0, this.width, this.height);
    this.paintLines(context);
    this.stars.paintFocused(context);
    this.asked?.paint(context, foreground, background);
    this.names.paint(context, foreground, background);
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

  // From an image or a proxy to what lies nearest to it: solid where it is of its class.
  paintLines(context) {
    const {study} = this;
    context.lineWidth = 1.5 * this.ratio;
    for (const {from, found, label} of this.lines()) {
      for (const j of found) {
        const right = study.label[j] === label;
        const to = this.spot(j);
        context.strokeStyle = right ? RIGHT : WRONG;
        context.setLineDash(right ? [] : [4 * this.ratio, 3 * this.ratio]);
        stroke(context, [from, to]);
        context.setLineDash([]);
        context.beginPath();
        context.arc(...to, 6 * this.ratio, 0, 7);
        context.stroke();
      }
    }
  }

  // Where lines begin, the images that they lead to, and the class that is right.
  lines() {
    const {study, at, picked} = this;
    const [kind] = this.stars.kinds;
    const shown = (images) => images.filter((i) => this.visible[i]);
    const lines = picked.length > MOST_LINED ? [] : picked.map((i) => {
      return {from: this.spot(i), found: shown(study.neighbours(i)), label: study.label[i]};
    });
    if (at.proxy >= 0 && kind) {
      const found = shown(study.nearestToProxy(at.proxy).map(([i]) => i));
      lines.push({from: this.stars.spot(kind, at.proxy), found, label: study.proxied[at.proxy]});
    }
    return lines;
  }

  shownImages() {
    return which(this.study.n, (i) => this.visible[i]);
  }

  // Show the images of the splits that are not hidden, and of these what passes a test.
  showOnly(test = this.test) {
    const {split} = this.study;
    this.test = test;
    this.hiddenCount = 0;
    for (let i = 0; i < this.study.n; i++) {
      this.visible[i] = !this.hidden.has(split[i]) && (!test || test(i));
      this.hiddenCount += 1 - this.visible[i];
    }
    this.names.forget();
    this.draw();
  }

  // What is pointed at.

  under(x, y) {
    const place = this.unit([x * this.ratio, y * this.ratio]);
    const reach = REACH * this.ratio / this.span();
    return this.points.nearest(...place, reach, (i) => this.visible[i]);
  }

  // The images sorted by where they lie, as long as they lie there.
  get points() {
    this.grid ??= new PointGrid(this.at.places);
    return this.grid;
  }

  // From the canvas to the map's unit square.
  unit([x, y]) {
    return [(x - this.px(0)) / this.span(), (this.py(0) - y) / this.span()];
  }

  // What of the map is seen, or the part of it between two places of the canvas.
  box([left, top] = [0, 0], [right, low] = [this.width, this.height]) {
    return [...this.unit([left, low]), ...this.unit([right, top])];
  }

  inView() {
    return this.points.within(this.box(), (i) => this.visible[i]);
  }

  // The image or the star at a place of the element; of both the nearer.
  whatIsAt(x, y) {
    const i = this.under(x, y);
    const [star, distance] = this.stars.under(x * this.ratio, y * this.ratio);
    if (i < 0 || star < 0) return {i, star};
    const [px, py] = this.spot(i);
    const isNearer = distance <= Math.hypot(px - x * this.ratio, py - y * this.ratio);
    return isNearer ? {i: -1, star} : {i, star: -1};
  }

  point(x, y) {
    const {i, star} = this.whatIsAt(x, y);
    this.hover(i, x, y, star);
  }

  click(x, y, mode) {
    const {i, star} = this.whatIsAt(x, y);
    if (star >= 0) this.open(star);
    else if (i >= 0 || mode === "replace") this.choose(i < 0 ? [] : [i], mode);
  }

  // To the nearest image in a direction, from the one that is pointed at or from the middle.
  step(dx, dy) {
    const {at} = this;
    const from = at.hover >= 0 ? this.spot(at.hover) : [this.width / 2, this.height / 2];
    const nextOf = (ids) => ahead(from, [dx, dy], ids, (i) => this.spot(i));
    const others = (ids) => ids.filter((i) => i !== at.hover);
    let next = nextOf(others(this.inView()));
    if (next < 0) next = nextOf(others(this.shownImages()));
    if (next < 0) return;
    const [x, y] = this.spot(next).map((value) => value / this.ratio);
    const {clientWidth, clientHeight} = this.element;
    if (x < 0 || y < 0 || x > clientWidth || y > clientHeight) {
      this.pan(this.at.x + clientWidth / 2 - x, this.at.y + clientHeight / 2 - y);
      this.hover(next, clientWidth / 2, clientHeight / 2);
    } else {
      this.hover(next, x, y);
    }
  }

  enter(mode) {
    if (this.at.hover >= 0) this.choose([this.at.hover], mode);
  }

  hover(i, x, y, star = -1) {
    if (i !== this.at.hover || star !== this.at.star) {
      this.at.hover = i;
      this.at.star = star;
      this.paintOver();
      if (i >= 0) this.fillTip(i);
      if (star >= 0) this.fillTipOfProxy(star);
    }
    this.tip.hidden = i < 0 && star < 0;
    if (this.tip.hidden) return;
    const {clientWidth, clientHeight} = this.element;
    const {offsetWidth, offsetHeight} = this.tip;
    const below = y + 14 + offsetHeight <= clientHeight;
    this.tip.style.left = `${Math.min(x + 14, clientWidth - offsetWidth - 4)}px`;
    this.tip.style.top = `${below ? y + 14 : Math.max(0, y - 14 - offsetHeight)}px`;
  }

  fillTipOfProxy(p) {
    const {study} = this;
    const [[nearest]] = study.nearestToProxy(p);
    this.tipPicture.getContext("2d").clearRect(0, 0, TIP_SIDE, TIP_SIDE);
    this.sheet.draw(this.tipPicture, nearest);
    this.tipText.textContent = study.describeProxy(p);
  }

  fillTip(i) {
    const {study, column} = this;
    this.tipPicture.getContext("2d").clearRect(0, 0, TIP_SIDE, TIP_SIDE);
    this.sheet.draw(this.tipPicture, i);
    const told = column.name === "class" || column.name === "split";
    const value = told ? "" : `, ${column.name}: ${study.valueText(column, i)}`;
    const missing = this.sheet.has(i) ? "" : "; its picture is not in this page";
    this.tipText.textContent = study.describe(i) + value + missing;
  }

  // The images within a line drawn on the map.
  within(polygon) {
    const drawn = polygon.map(([x, y]) => [x * this.ratio, y * this.ratio]);
    const [xs, ys] = [0, 1].map((axis) => drawn.map((corner) => corner[axis]));
    const box = this.box([Math.min(...xs), Math.min(...ys)], [Math.max(...xs), Math.max(...ys)]);
    const isIn = (i) => this.visible[i] && inside(drawn, ...this.spot(i));
    return this.points.within(box, isIn);
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
    this.at.moving = share < 1 ? from.moment + share * (epoch - from.moment) : epoch;
    this.grid = null;
    this.names.forget();
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
    this.draw();
  }

  pan(x, y) {
    this.at.x = x;
    this.at.y = y;
    this.draw();
  }

  whole() {
    this.at.zoom = 1;
    this.pan(0, 0);
  }
}
