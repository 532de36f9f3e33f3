// An image of one's own: handed to the kernel, and shown where it belongs.
import {button, make} from "./dom.js";
import {stroke} from "./explorer_stars.js";
import {array} from "./typed.js";

const LARGEST = 20e6;  // bytes of a file that is sent
const BETWEEN = 3;     // of the nearest, between which it is put

export class Asked {
  // asks: whether the kernel has a model; tell(words): where a refusal is said
  constructor(model, asks, map, tell) {
    Object.assign(this, {model, map, tell});
    this.answer = null;  // of the kernel: name, near, cosines
    this.picture = null;
    this.takes = asks && model.send !== undefined;
    if (this.takes) this.takeDrops();
  }

  // What there is to press, where there is a kernel with a model.
  controls() {
    if (!this.takes) return [];
    const field = make("input", {type: "file", accept: "image/*", hidden: true});
    field.onchange = () => {
      if (field.files.length) this.hand(field.files[0]);
      field.value = "";
    };
    const title = "where an image of your own belongs; or drop its file on the map";
    return [button("find an image ...", () => field.click(), {title}), field];
  }

  takeDrops() {
    const {element} = this.map;
    element.ondragover = (event) => event.preventDefault();
    element.ondrop = (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (event.dataTransfer.files.length) this.hand(event.dataTransfer.files[0]);
    };
  }

  async hand(file) {
    if (file.size > LARGEST) {
      this.tell(`${file.name} has more than ${LARGEST / 1e6} MB: use explorer.query(path)`);
      return;
    }
    this.tell(`looking for ${file.name} ...`);
    this.model.send({image: file.name}, undefined, [await file.arrayBuffer()]);
  }

  // Once the kernel has answered; or nothing, for no answer.
  hear() {
    const answer = this.model.get("asked");
    if (this.picture) URL.revokeObjectURL(this.picture);
    this.picture = null;
    this.answer = answer?.near ? answer : null;
    if (answer?.error) this.tell(answer.error);
    if (!this.answer) return;
    const file = new Blob([array(Uint8Array, answer.picture)], {type: "image/webp"});
    this.picture = URL.createObjectURL(file);
  }

  // Where it is on the canvas: between its nearest, and nearer to the nearer.
  spot() {
    const {near, cosines} = this.answer;
    const weights = cosines.slice(0, BETWEEN).map((cosine) => Math.exp(20 * (cosine - cosines[0])));
    const sum = weights.reduce((a, b) => a + b);
    const spots = near.slice(0, BETWEEN).map((i) => this.map.spot(i));
    return [0, 1].map((axis) => {
      return weights.reduce((total, w, k) => total + w * spots[k][axis], 0) / sum;
    });
  }

  // Lines to its nearest, which have no right and wrong, and a diamond.
  paint(context, foreground, background) {
    if (!this.answer) return;
    const {ratio} = this.map;
    const [x, y] = this.spot();
    context.strokeStyle = foreground;
    context.lineWidth = ratio;
    for (const i of this.answer.near) stroke(context, [[x, y], this.map.spot(i)]);
    const arm = 9 * ratio;
    context.fillStyle = background;
    context.lineWidth = 2.5 * ratio;
    context.beginPath();
    for (const [dx, dy] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) {
      context.lineTo(x + arm * dx, y + arm * dy);
    }
    context.closePath();
    context.fill();
    context.stroke();
  }
}
