// As much of a document as the shared modules ask for, so that they are tested without a browser.
class FakeElement {
  constructor(tag) {
    this.tagName = tag;
    this.attributes = {};
    this.children = [];
    this.dataset = {};
    this.style = {setProperty: (name, value) => this.style[name] = value};
    this.classes = new Set();
    this.classList = {add: (...names) => names.forEach((name) => this.classes.add(name))};
    this.textContent = "";
    this.drawn = [];
  }

  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "width" || name === "height") this[name] = Number(value);
  }

  append(...children) {
    this.children.push(...children);
  }

  addEventListener(event, listener) {
    this[`on${event}`] = listener;
  }

  getContext() {
    return {drawImage: (...call) => this.drawn.push(call)};
  }
}

class FakeImage {
  complete = false;
  naturalWidth = 0;
  listeners = [];

  addEventListener(event, listener) {
    this.listeners.push(listener);
  }

  arrive() {
    this.complete = true;
    this.naturalWidth = 96;
    for (const listener of this.listeners) listener();
  }
}

globalThis.document = {
  createElement: (tag) => new FakeElement(tag),
  createElementNS: (space, tag) => new FakeElement(tag)
};
globalThis.Image = FakeImage;
