import assert from "node:assert/strict";
import {test} from "node:test";
import {
  NONE, PALETTE, RAMP, gradient, named, rgb, scale
} from "../../vptsp/widgets/static/colours.js";

test("a colour is three numbers", () => {
  assert.deepEqual(rgb("#0072b2"), [0, 114, 178]);
});

test("the ramp begins and ends at its stops, and stays there beyond them", () => {
  assert.deepEqual(scale(0), rgb(RAMP[0]));
  assert.deepEqual(scale(1), rgb(RAMP.at(-1)));
  assert.deepEqual(scale(-3), scale(0));
  assert.deepEqual(scale(7), scale(1));
});

test("half way between two stops is their mean", () => {
  assert.deepEqual(scale(.5, ["#000000", "#646464"]), [50, 50, 50]);
  assert.deepEqual(scale(.5, ["#000000", "#646464", "#ffffff"]), [100, 100, 100]);
});

test("the palette comes again, and no value is grey", () => {
  assert.equal(named(0), PALETTE[0]);
  assert.equal(named(PALETTE.length + 2), PALETTE[2]);
  assert.equal(named(-1), NONE);
});

test("a gradient holds all stops", () => {
  assert.equal(gradient(["#000000", "#ffffff"]), "linear-gradient(to right, #000000, #ffffff)");
});
