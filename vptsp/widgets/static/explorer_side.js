// Beside the explorer's map: what is chosen, its neighbours, and the classes by their R@1.
import {asOneStop, button, make} from "./dom.js";
import {which} from "./typed.js";

const MOST_TILES = 120;
const MOST_LINES = 24;
const MOST_CLASSES = 200;
const HELP = "Point at an image or a star to see it, click to see its neighbours, draw a lasso "
  + "around many (Shift adds, Alt removes).";

export class Side {
  // choose(ids): what to do with images that are clicked here; open(p): with a proxy;
  // shownImages(): those on the map, whose classes are listed while nothing is chosen
  constructor(study, sheet, choose, open, shownImages) {
    Object.assign(this, {study, sheet, choose, open, shownImages, labels: []});
    this.status = make("div", {className: "v-status", role: "status"});
    this.panel = make("div", {className: "v-panel"});
    this.listTitle = make("h4");
    this.list = make("div", {className: "v-list"});
    const parts = [this.status, this.panel, this.listTitle, this.list];
    this.element = make("div", {className: "v-side"}, ...parts);
  }

  show(picked) {
    this.status.textContent = this.words(picked);
    const many = picked.length > MOST_LINES;
    const shown = picked.slice(0, MOST_TILES);
    this.panel.replaceChildren(...shown.map((i) => many ? this.tile(i) : this.line(i)));
    asOneStop(this.panel);
    this.showClasses(picked.map((i) => this.study.label[i]));
  }

  // A proxy: its class, the images nearest to it, and its rival.
  showProxy(p) {
    const {study} = this;
    const label = study.proxied[p];
    this.status.textContent = study.describeProxy(p);
    const tiles = study.nearestToProxy(p).map(([i, cosine]) => {
      return this.withCosine(this.tile(i, study.label[i] === label ? "right" : "wrong"), cosine);
    });
    const rival = study.rival[p];
    const others = rival < 0 ? [] : [button("nearest other proxy", () => this.open(rival))];
    const images = () => this.choose(which(study.n, (i) => study.label[i] === label));
    const buttons = make("div", {className: "v-row"}, button("its images", images), ...others);
    this.panel.replaceChildren(make("div", {className: "v-line"}, ...tiles), buttons);
    asOneStop(this.panel);
    this.showClasses(rival < 0 ? [label] : [label, study.proxied[rival]]);
  }

  // An image of one's own, of no known class, and its nearest.
  showAsked({name, near, cosines}, picture) {
    this.status.textContent = `${name}: nearest to it, with their cosines`;
    const own = make("img", {src: picture, alt: name, className: "v-tile"});
    const tiles = near.map((i, k) => this.withCosine(this.tile(i), cosines[k]));
    this.panel.replaceChildren(make("div", {className: "v-line"}, own, ...tiles));
    asOneStop(this.panel);
    this.showClasses(near.map((i) => this.study.label[i]));
  }

  withCosine(tile, cosine) {
    const words = {textContent: cosine.toFixed(2), title: "cosine of the two embeddings"};
    return make("span", {className: "v-near"}, tile, make("small", words));
  }

  words(picked) {
    const {study} = this;
    if (!picked.length) return HELP;
    if (picked.length === 1) return study.describe(picked[0]);
    const classes = new Set(picked.map((i) => study.label[i])).size;
    const images = picked.length.toLocaleString();
    const counts = `${images} images of ${classes.toLocaleString()} classes`;
    return picked.length > MOST_TILES ? `${counts}, the first ${MOST_TILES} below` : counts;
  }

  tile(i, mark = "") {
    const words = this.study.describe(i) + (mark ? `, ${mark}` : "");
    const names = {className: `v-tile ${mark}`, title: words, ariaLabel: words};
    const element = make("button", names, this.sheet.canvas(i, 2 * this.study.tile));
    element.onclick = () => this.choose([i]);
    return element;
  }

  // An image and its neighbours.
  line(i) {
    const {label} = this.study;
    const found = this.study.neighbours(i);
    const tiles = found.map((j, k) => {
      const tile = this.tile(j, label[j] === label[i] ? "right" : "wrong");
      return this.withCosine(tile, this.study.cosineTo(i, k));
    });
    const arrow = make("span", {textContent: found.length ? "→" : ""});
    return make("div", {className: "v-line"}, this.tile(i), arrow, ...tiles);
  }

  // Once other images are on the map.
  refresh() {
    this.showClasses(this.labels);
  }

  // The classes with these numbers, or of all that is on the map; lowest R@1 first.
  showClasses(labels) {
    const {classes, label} = this.study;
    this.labels = labels;
    const shown = labels.length ? labels : this.shownImages().map((i) => label[i]);
    const rows = [...new Set(shown)];
    rows.sort((a, b) => (classes[a].rate ?? 2) - (classes[b].rate ?? 2));
    this.listTitle.textContent = labels.length
      ? "R@1 of the classes chosen, and their images"
      : "R@1 of the classes, lowest first, and their images";
    const more = (rows.length - MOST_CLASSES).toLocaleString();
    const note = make("p", {textContent: `and ${more} more: search for them`});
    const rest = rows.length > MOST_CLASSES ? [note] : [];
    const buttons = rows.slice(0, MOST_CLASSES).map((c) => this.classButton(c));
    this.list.replaceChildren(...buttons, ...rest);
    asOneStop(this.list);
  }

  classButton(c) {
    const {n, label, classes} = this.study;
    const {name, rate, images} = classes[c];
    const percent = rate === null ? "–" : `${(100 * rate).toFixed(0)}%`;
    const filled = make("i", {style: `width:${100 * (rate ?? 0)}%`});
    const element = make("button", {className: "v-class"},
      make("span", {textContent: name}),
      make("span", {className: "v-bar"}, filled),
      make("span", {textContent: `${percent} of ${images}`}));
    element.onclick = () => this.choose(which(n, (i) => label[i] === c));
    return element;
  }
}
