// Elements with attributes and children. Names from data only ever become text, never markup.
import {ACCENT, RIGHT, WRONG} from "./colours.js";

const TAKES_KEYS = ["button", "canvas", "input", "select"];  // JupyterLab would take their keys
const NO_PROPERTY = ["list", "width", "height"];             // read-only, or better as attributes

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && !NO_PROPERTY.includes(name)) element[name] = value;
    else element.setAttribute(name, value);
  }
  if (TAKES_KEYS.includes(tag)) element.dataset.lmSuppressShortcuts = "true";
  element.append(...children);
  return element;
}

// A button with a text that does something.
export function button(text, act, attributes = {}) {
  const element = make("button", {textContent: text, ...attributes});
  element.onclick = act;
  return element;
}

// Make an element the root of a widget: its class, and the colours that its style sheet uses.
export function asRoot(element, name) {
  element.classList.add("vptsp-widget", name);
  element.style.setProperty("--v-right", RIGHT);
  element.style.setProperty("--v-wrong", WRONG);
  element.style.setProperty("--v-accent", ACCENT);
  return element;
}

// Make a list of buttons one stop of the tab key; arrow keys go from one to the next.
export function asOneStop(list) {
  const buttons = () => [...list.querySelectorAll("button")];
  for (const [i, element] of buttons().entries()) element.tabIndex = i ? -1 : 0;
  list.onkeydown = (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const forward = event.key === "ArrowDown" || event.key === "ArrowRight";
    const step = forward ? 1 : event.key === "ArrowUp" || event.key === "ArrowLeft" ? -1 : 0;
    if (at < 0 || !step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
    all[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };
}

// Put text on the clipboard: whether that was allowed.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {                                     // a page that was opened as a file has none
    const field = make("textarea", {value: text, readOnly: true});
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

// Hand a text over as a file.
export function download(name, text, type) {
  const href = URL.createObjectURL(new Blob([text], {type}));
  make("a", {href, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
  return true;
}
