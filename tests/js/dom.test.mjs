import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {RIGHT} from "../../vptsp/widgets/static/colours.js";
import {asOneStop, asRoot, button, make} from "../../vptsp/widgets/static/dom.js";
import {svg} from "../../vptsp/widgets/static/svg.js";

test("properties are set as such, all else as attributes", () => {
  const element = make("div", {textContent: "a name", "aria-label": "words"});
  assert.equal(element.textContent, "a name");
  assert.deepEqual(element.attributes, {"aria-label": "words"});
});

test("the keys of what takes keys are not the notebook's", () => {
  assert.equal(make("select").dataset.lmSuppressShortcuts, "true");
  assert.equal(make("div").dataset.lmSuppressShortcuts, undefined);
});

test("a name is a child of text, whatever it holds", () => {
  const name = "<img src=x onerror=alert(1)>";
  assert.deepEqual(make("span", {}, name).children, [name]);
  assert.deepEqual(svg("text", {}, name).children, [name]);
});

test("a button does what it is for", () => {
  let pressed = 0;
  button("press", () => pressed++).onclick();
  assert.equal(pressed, 1);
});

test("a root knows the colours of its style sheet", () => {
  const root = asRoot(make("div"), "vptsp-live");
  assert.equal(root.style["--v-right"], RIGHT);
  assert.ok(root.classes.has("vptsp-live"));
});

test("a list is one stop of the tab key, and arrows go through it", () => {
  const list = make("div", {}, ...["a", "b", "c"].map((name) => button(name, () => {})));
  list.querySelectorAll = () => list.children;
  for (const child of list.children) child.focus = () => document.activeElement = child;
  asOneStop(list);
  assert.deepEqual(list.children.map((child) => child.tabIndex), [0, -1, -1]);
  document.activeElement = list.children[0];
  const press = (key) => list.onkeydown({key, preventDefault() {}, stopPropagation() {}});
  for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "x"]) press(key);
  assert.equal(document.activeElement, list.children[1]);
  assert.deepEqual(list.children.map((child) => child.tabIndex), [-1, 0, -1]);
});
