import assert from "node:assert/strict";
import {test} from "node:test";
import {asCsv, asNumbers, asPaths, histogram, nameCounts, search}
  from "../../vptsp/widgets/static/explorer_search.js";
import {StudyData} from "../../vptsp/widgets/static/study.js";

const study = Object.assign(Object.create(StudyData.prototype), {
  n: 4, splits: ["train", "query"], split: [0, 0, 1, 1],
  files: ["a/cat 1.png", "a/cat 2.png", "b/dog, big.png", 'b/"dog".png'],
  columns: [
    {name: "class", names: ["cat", "dog"], values: [0, 0, 1, 1]},
    {name: "vendor", names: ["noto", "twemoji"], values: [0, 1, -1, 1]},
    {name: "MAP@R", names: null, low: 0, high: 1, values: Float32Array.of(.1, .5, NaN, 1)}
  ]
});

test("words are looked for in the class, then elsewhere", () => {
  assert.deepEqual(search(study, " DOG "), {ids: [2, 3], where: "class"});
  assert.deepEqual(search(study, "twe"), {ids: [1, 3], where: "vendor"});
  assert.deepEqual(search(study, "big"), {ids: [2], where: "file"});
  assert.deepEqual(search(study, "cow"), {ids: [], where: "class, vendor, MAP@R, file"});
});

test("a column can be named, and numbers compared", () => {
  assert.deepEqual(search(study, "vendor: noto").ids, [0]);
  assert.deepEqual(search(study, "map@r: < 0.5").ids, [0]);
  assert.deepEqual(search(study, "MAP@R: >= .5").ids, [1, 3]);
  assert.deepEqual(search(study, "MAP@R: dog").ids, []);
});

test("patterns are patterns, and a bad one is an error", () => {
  assert.deepEqual(search(study, "/^c.t$/").ids, [0, 1]);
  assert.deepEqual(search(study, "file: /\\d\\.png/").ids, [0, 1]);
  assert.throws(() => search(study, "/(/"), SyntaxError);
});

test("a choice can be taken away", () => {
  assert.equal(asPaths(study, [0, 2]), "a/cat 1.png\nb/dog, big.png");
  assert.equal(asPaths({...study, files: null}, [0, 2]), "0\n2");
  assert.equal(asNumbers([3, 1]), "[3, 1]");
  const [head, row] = asCsv(study, [3]).split("\r\n");
  assert.equal(head, '"number","split","file","class","vendor","MAP@R"');
  assert.equal(row, '"3","query","b/""dog"".png","dog","twemoji","1"');
});

test("columns are counted for those that are shown", () => {
  assert.deepEqual(histogram(study.columns[2], [0, 1, 2, 3], 2), [1, 2]);
  assert.deepEqual(nameCounts(study.columns[1], [1, 2, 3]), [0, 2]);
});
