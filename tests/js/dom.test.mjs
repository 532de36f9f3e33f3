import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {RIGHT} from "../../vptsp/widgets/static/colours.js";
import {asRoot, button, make} from "../../vptsp/widgets/static/dom.js";
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
