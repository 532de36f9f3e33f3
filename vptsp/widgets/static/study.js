// What Python's `payload` sends of a study, its bytes as arrays.
import {array} from "./typed.js";

const PARTS = 10000;  // of a cosine of one, as it is sent

export class StudyData {
  constructor(payload) {
    Object.assign(this, payload);
    this.last = payload.epochs.length - 1;
    this.xy = payload.xy.map((bytes) => this.places(bytes));
    this.stars = payload.stars.map((kinds) => {
      const places = Object.entries(kinds).map(([kind, bytes]) => [kind, this.places(bytes)]);
      return Object.fromEntries(places);
    });
    this.kinds = Object.keys(this.stars[this.last]);
    this.label = array(Int32Array, payload.label);
    this.split = array(Uint8Array, payload.split);
    this.worst = [...array(Int32Array, payload.worst)];
    this.near = array(payload.wide === 2 ? Uint16Array : Uint32Array, payload.near);
    this.cosine = array(Int16Array, payload.cosine);
    const near = array(Int32Array, payload.star_near);
    const cosine = array(Int16Array, payload.star_cosine);
    this.starNear = {near, cosine, count: near.length / this.proxied.length};
    this.rival = array(Int32Array, payload.rival);
    this.rivalCosine = array(Int16Array, payload.rival_cosine);
    this.columns = payload.columns.map((column) => {
      const values = array(column.names ? Int32Array : Float32Array, column.values);
      return {...column, values};
    });
  }

  // What can be searched: the class first, then every other column, then the file.
  searched() {
    const columns = this.columns.filter(({name}) => name !== "class");
    const files = this.files ? [{name: "file", texts: this.files}] : [];
    return [this.column("class"), ...columns, ...files];
  }

  // Places on the map, x and y in turn, from 16 bits each.
  places(bytes) {
    const scale = (this.high - this.low) / 65535;
    const sent = array(Uint16Array, bytes);
    const places = new Float32Array(sent.length);
    for (let j = 0; j < sent.length; j++) places[j] = this.low + sent[j] * scale;
    return places;
  }

  column(name) {
    return this.columns.find((column) => column.name === name) ?? this.columns[0];
  }

  // The images nearest to image `i`, nearest first.
  neighbours(i) {
    const count = this.near.length / this.n;
    return [...this.near.subarray(i * count, (i + 1) * count)].filter((j) => j < this.n);
  }

  // The cosine of image `i` to the `k`-th of them.
  cosineTo(i, k) {
    return this.cosine[i * this.cosine.length / this.n + k] / PARTS;
  }

  // The images nearest to proxy `p`, nearest first: [number, cosine].
  nearestToProxy(p) {
    const {near, cosine, count} = this.starNear;
    return [...near.subarray(p * count, (p + 1) * count)]
      .map((i, k) => [i, cosine[p * count + k] / PARTS]);
  }

  rateText({rate}) {
    return rate === null ? "no R@1" : `R@1 ${(100 * rate).toFixed(0)}%`;
  }

  // Proxy `p` in words.
  describeProxy(p) {
    const shown = this.classes[this.proxied[p]];
    const rival = this.rival[p];
    const words = `proxy of ${shown.name}, ${this.rateText(shown)}`;
    if (rival < 0) return words;
    const other = this.classes[this.proxied[rival]].name;
    const cosine = (this.rivalCosine[p] / PARTS).toFixed(2);
    return `${words}; nearest other proxy: ${other} (cosine ${cosine})`;
  }

  describe(i) {
    return `${this.classes[this.label[i]].name} (${this.splits[this.split[i]]})`;
  }

  // Image `i` in a column, as text.
  valueText(column, i) {
    const value = column.values[i];
    if (column.names) return column.names[value] ?? "none";
    return Number.isNaN(value) ? "none" : value.toFixed(2);
  }

  // The same without rounding, and empty where there is none.
  exactText(column, i) {
    const value = column.values[i];
    if (column.names) return column.names[value] ?? "";
    return Number.isNaN(value) ? "" : String(value);
  }

  // Where proxy `p` of a kind is between two epochs: `moment` is 1.5 half way from the second on.
  proxyPlace(kind, p, moment) {
    const before = Math.floor(moment);
    const share = moment - before;
    const from = this.stars[before][kind];
    const to = this.stars[Math.min(before + 1, this.last)][kind];
    return [2 * p, 2 * p + 1].map((at) => from[at] + share * (to[at] - from[at]));
  }
}
