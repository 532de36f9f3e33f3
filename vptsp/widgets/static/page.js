// A widget in a saved page, where there is no kernel: its state, and a stand-in for its model.

// The state as it was saved, with every {"bytes": base64} a DataView, as a kernel sends them.
export function savedState(saved) {
  if (Array.isArray(saved)) return saved.map(savedState);
  if (saved === null || typeof saved !== "object") return saved;
  if ("bytes" in saved) {
    const text = atob(saved.bytes);
    const bytes = new Uint8Array(text.length);
    for (let j = 0; j < text.length; j++) bytes[j] = text.charCodeAt(j);
    return new DataView(bytes.buffer);
  }
  return Object.fromEntries(Object.entries(saved).map(([key, value]) => [key, savedState(value)]));
}

// What `render` asks of a model: get and set traits, and hear of a change once it is saved.
export class SavedModel {
  constructor(state) {
    this.state = state;
    this.listeners = {};
    this.changed = new Set();
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    this.changed.add(name);
  }

  save_changes() {
    for (const name of [...this.changed]) {
      this.changed.delete(name);
      for (const listener of this.listeners[`change:${name}`] ?? []) listener();
    }
  }

  on(event, listener) {
    (this.listeners[event] ??= []).push(listener);
  }

  off() {}
}

// Draw the widget into the page, which is bare where another page, such as a notebook, frames it.
export function openPage(render) {
  document.body.classList.toggle("in-a-frame", window !== window.parent);
  const saved = JSON.parse(document.getElementById("state").textContent);
  render({model: new SavedModel(savedState(saved)), el: document.getElementById("widget")});
}
