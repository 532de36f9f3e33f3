// The proxies on the explorer's map: stars, trails, and which of them is pointed at.
import {PALETTE} from "./colours.js";
import {STAR} from "./geometry.js";

const MOST_CLEAR = 40;   // stars that are all drawn large
const MOST_ROOMY = 200;  // of more, each is smaller

function strokeCross(context, x, y, arm) {
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  context.moveTo(x, y - arm);
  context.lineTo(x, y + arm);
  context.stroke();
}

export function stroke(context, points, close = false) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  if (close) context.closePath();
  context.stroke();
}

export class Stars {
  constructor(map) {
    this.map = map;
    this.kinds = new Set(map.study.kinds.slice(0, 1));  // shown
    this.trails = false;
  }

  // Where a proxy is on the canvas.
  spot(kind, p, moment = this.map.at.moving) {
    const [u, v] = this.map.study.proxyPlace(kind, p, moment);
    return [this.map.px(u), this.map.py(v)];
  }

  radius(clear) {
    const small = this.map.study.proxied.length > MOST_ROOMY ? 3.2 : 4.5;
    return (clear ? 8 : small) * this.map.ratio;
  }

  // The star over a place of the canvas and how far away its middle is, or [-1, Infinity].
  under(x, y) {
    const {study} = this.map;
    const few = study.proxied.length <= MOST_CLEAR;
    let found = [-1, Infinity];
    for (const kind of this.kinds) {
      for (let p = 0; p < study.proxied.length; p++) {
        const [px, py] = this.spot(kind, p);
        const distance = Math.hypot(px - x, py - y);
        if (distance <= this.radius(few) && distance < found[1]) found = [p, distance];
      }
    }
    return found;
  }

  // All of them.
  paint(context) {
    const {theme, study} = this.map;
    const look = {theme, focus: false, alpha: this.map.isAside() ? .35 : 1};
    for (let p = 0; p < study.proxied.length; p++) this.paintProxy(context, p, look);
  }

  // On top, those that are pointed at, that are open, or whose images are.
  paintFocused(context) {
    const {study, labels, at, theme} = this.map;
    const pointed = at.hover < 0 ? -1 : study.label[at.hover];
    for (const [p, label] of study.proxied.entries()) {
      const isOpen = p === at.star || p === at.proxy;
      const focus = isOpen || label === pointed || labels.has(label);
      if (focus) this.paintProxy(context, p, {theme, focus, alpha: 1});
    }
  }

  paintProxy(context, p, {theme, focus, alpha}) {
    const {study, column} = this.map;
    const {foreground, background} = theme;
    const few = study.proxied.length <= MOST_CLEAR;
    const label = study.proxied[p];
    const colour = column.name === "class" ? PALETTE[label % PALETTE.length] : foreground;
    const look = {colour, background, focus, clear: focus || few, alpha};
    if (this.trails && study.last && this.kinds.size) this.paintTrail(context, p, look);
    for (const kind of this.kinds) this.paintOne(context, kind, p, look);
  }

  paintTrail(context, p, {colour, focus, clear, alpha}) {
    const {at, ratio} = this.map;
    const [kind] = this.kinds;
    const points = [];
    for (let epoch = 0; epoch <= Math.floor(at.moving); epoch++) {
      points.push(this.spot(kind, p, epoch));
    }
    points.push(this.spot(kind, p));
    context.strokeStyle = colour;
    context.globalAlpha = alpha * (clear ? .9 : .25);
    context.lineWidth = (focus ? 1.6 : 1) * ratio;
    stroke(context, points);
    context.globalAlpha = 1;
  }

  // A full star, an empty star, or a cross.
  paintOne(context, kind, p, {colour, background, clear, alpha}) {
    const {ratio} = this.map;
    const [x, y] = this.spot(kind, p);
    const radius = this.radius(clear);
    context.globalAlpha = alpha * (clear ? 1 : .75);
    if (kind === "bias") {
      context.strokeStyle = colour;
      context.lineWidth = 2 * ratio;
      strokeCross(context, x, y, radius * .7);
    } else {
      const full = kind === "proxy";
      context.lineWidth = ratio;
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
}
