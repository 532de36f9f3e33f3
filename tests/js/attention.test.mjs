import "./dom.mjs";
import assert from "node:assert/strict";
import {test} from "node:test";
import {help, opacity, whyOff} from "../../vptsp/widgets/static/attention.js";
import {mapPixels} from "../../vptsp/widgets/static/attention_glance.js";
import {AttentionNumbers, brightest} from "../../vptsp/widgets/static/attention_numbers.js";

test("the more attention, the more colour; the picture shows through everywhere", () => {
  const shares = [0, .5, 1, 4].map((share) => opacity(share, .75));
  assert.deepEqual(shares.map((share) => +share.toFixed(3)), [.3, .525, .75, .75]);
  assert.equal(opacity(-1, .75), .75);
  assert.equal(opacity(1, 0), 0);
});

test("what does nothing says why", () => {
  const state = {show: "with", images: 2, blocks: 6, passes: 2, prompts: 3, most: 3};
  const off = (changes) => ["left", "block", "head", "prompts", "prompt"]
    .filter((trait) => whyOff(trait, {...state, ...changes}));
  assert.deepEqual(off({}), ["prompt"]);
  assert.deepEqual(off({show: "takes"}), []);
  assert.deepEqual(off({show: "rollout"}), ["head", "prompt"]);
  assert.deepEqual(off({show: "looks", prompts: 0}), ["prompt"]);
  assert.deepEqual(off({images: 1, blocks: 1}), ["left", "block", "prompt"]);
  assert.equal(whyOff("prompts", {...state, passes: 1}), "the model has one set of prompts");
  assert.equal(whyOff("prompts", {...state, passes: 1, most: 0}), "this model has no prompts");
});

test("nothing is promised of prompts that are not there", () => {
  assert.match(help(3), /from each prompt\.$/);
  assert.doesNotMatch(help(0), /prompt/);
});

test("the colours end where one patch in fifty has more, as in Python", () => {
  const map = Float32Array.from({length: 256}, (_, i) => i === 100 ? 50 : i / 256);
  assert.equal(brightest(map), 251 / 256);
  assert.equal(brightest(map.map((value) => -value)), 251 / 256);
  assert.equal(brightest(map.subarray(0, 16)), 15 / 256);
  assert.equal(brightest([0, 0, 0, ...Array(200).fill(0), 7]), 7);
});

test("a small map has a scale of its own, and differences their middle", () => {
  const pixels = [...mapPixels(Float32Array.of(0, .001, .002), false)];
  assert.deepEqual(pixels.slice(0, 4), [0, 34, 78, 255]);
  assert.deepEqual(pixels.slice(8), [254, 232, 56, 255]);
  assert.deepEqual([...mapPixels(Float32Array.of(0, 1), true)].slice(0, 3), [242, 242, 242]);
  assert.deepEqual([...mapPixels(Float32Array.of(0, 0), false)].slice(0, 3), [0, 34, 78]);
});

test("each block and head has its numbers, whatever is chosen", () => {
  const about = {
    maps: [0, 6], grid: [1, 2], heads: 2, images: [{}],
    passes: {"no prompts": {reads: 0, rollout: 4, prompts: [0, 0]}}
  };
  const floats = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 90, 91, 92, 93);
  const chosen = {prompts: "no prompts", block: 0, head: 1, prompt: -1, show: "without"};
  const packed = new DataView(floats.buffer);
  const numbers = new AttentionNumbers(about, packed, (name) => chosen[name]);
  assert.deepEqual([...numbers.map(0)], [3, 4]);
  assert.deepEqual([...numbers.at(1, 0).map(0)], [5, 6]);
  assert.deepEqual([...numbers.at(1, -1).map(0)], [6, 7]);
  assert.deepEqual([...numbers.map(0)], [3, 4]);
  chosen.show = "rollout";
  assert.equal(numbers.head(), -1);
  assert.deepEqual([...numbers.at(1, 0).map(0)], [92, 93]);
});
