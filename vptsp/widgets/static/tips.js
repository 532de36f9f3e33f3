// A sentence that shows beside what it explains: under the pointer, with the focus, or by a tap.
import {make} from "./dom.js";

const ROOM = 4;           // pixels between the sentence and the border of the window

// Where a box of some size goes: below an element or, where there is no room, above; in sight.
export function placeBeside(owner, {width, height}, window) {
  const right = Math.max(ROOM, window.width - width - ROOM);
  const left = Math.min(Math.max(owner.left, ROOM), right);
  const above = owner.bottom + height > window.height && owner.top > height;
  return {left, top: above ? owner.top - height : owner.bottom};
}

// A button with its explanation: words and, where there is one, a formula.
export function explained(element, [words, formula]) {
  const lines = [make("span", {textContent: words})];
  if (formula) lines.push(make("code", {textContent: formula}));
  const bubble = make("span", {className: "v-bubble", role: "tooltip", popover: "auto"}, ...lines);
  const owner = make("span", {className: "v-explained"}, element, bubble);
  const isOpen = () => bubble.matches(":popover-open");
  const show = () => {
    if (isOpen() || !element.isConnected) return;    // a click may have drawn it anew
    bubble.showPopover();
    const size = {width: innerWidth, height: innerHeight};
    const beside = [element, bubble].map((one) => one.getBoundingClientRect());
    const {left, top} = placeBeside(...beside, size);
    bubble.style.left = `${left}px`;
    bubble.style.top = `${top}px`;
  };
  const hide = () => isOpen() && bubble.hidePopover();
  element.ariaDescription = formula ? `${words} ${formula}` : words;
  element.addEventListener("click", show);
  element.onfocus = () => element.matches(":focus-visible") && show();
  element.onblur = hide;
  owner.onpointerenter = show;
  owner.onpointerleave = hide;
  owner.onkeydown = (event) => {
    if (event.key !== "Escape" || !isOpen()) return;
    event.stopPropagation();                     // closes the sentence alone
    hide();
  };
  return owner;
}

// A small button that does nothing but explain.
export function question(name, meaning) {
  const look = {textContent: "?", className: "v-question", ariaLabel: `what is: ${name}`};
  return explained(make("button", {type: "button", ...look}), meaning);
}
