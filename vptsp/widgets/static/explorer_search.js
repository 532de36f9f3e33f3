// What the explorer's search field understands, and a choice as text to take away.
import {range, which} from "./typed.js";

const COMPARE = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
  "=": (a, b) => a === b
};

// Whether a name is meant by words: it holds them, whatever their case; or fits a /pattern/.
export function nameTest(words) {
  const pattern = words.match(/^\/(.+)\/$/);
  if (pattern) {
    const expression = new RegExp(pattern[1], "i");
    return (name) => expression.test(name);
  }
  const wanted = words.toLowerCase();
  return (name) => name.toLowerCase().includes(wanted);
}

// Whether a number is meant by "< 0.5" or "3"; null for words of another kind.
export function numberTest(words) {
  const parts = words.match(/^(<=|>=|<|>|=)?\s*(-?\d*\.?\d+)$/);
  if (!parts) return null;
  const bound = Number(parts[2]);
  return (value) => COMPARE[parts[1] ?? "="](value, bound);
}

// The images whose value in a column is meant. Throws a SyntaxError for a bad pattern.
export function inColumn(study, column, words) {
  const {n} = study;
  if (column.texts) {
    const test = nameTest(words);
    return which(n, (i) => test(column.texts[i]));
  }
  if (!column.names) {
    const test = numberTest(words);
    return test ? which(n, (i) => test(column.values[i])) : [];
  }
  const exact = column.names.map((name) => name.toLowerCase()).indexOf(words.toLowerCase());
  const test = nameTest(words);
  const hit = column.names.map((name, c) => exact >= 0 ? c === exact : test(name));
  return which(n, (i) => hit[column.values[i]]);
}

// `words`, `column: words`: {ids, where}, the first column in which something is found.
export function search(study, text) {
  const columns = study.searched();
  const parts = text.match(/^\s*([^:/]+?)\s*:\s*(.+?)\s*$/);
  const named = parts && columns.find(({name}) => name.toLowerCase() === parts[1].toLowerCase());
  const words = named ? parts[2] : text.trim();
  for (const column of named ? [named] : columns) {
    const ids = inColumn(study, column, words);
    if (ids.length || named) return {ids, where: column.name};
  }
  return {ids: [], where: columns.map(({name}) => name).join(", ")};
}

function quoted(value) {
  return `"${String(value).replaceAll('"', '""')}"`;
}

// Rows of a table of images: number, split, file, and all columns.
export function asCsv(study, ids) {
  const columns = study.columns.filter(({name}) => name !== "split");
  const heads = ["number", "split", "file", ...columns.map(({name}) => name)];
  const rows = ids.map((i) => [i, study.splits[study.split[i]], study.files?.[i] ?? "",
    ...columns.map((column) => study.exactText(column, i))]);
  return [heads, ...rows].map((cells) => cells.map(quoted).join(",")).join("\r\n") + "\r\n";
}

// Paths, one a line; where there are none the images' numbers.
export function asPaths(study, ids) {
  return ids.map((i) => study.files?.[i] ?? i).join("\n");
}

// A list that Python reads.
export function asNumbers(ids) {
  return `[${ids.join(", ")}]`;
}

// The share of the numbers of a column in each of `bins` parts of its range, [count ..].
export function histogram(column, shown, bins = 24) {
  const width = (column.high - column.low) / bins || 1;
  const counts = Array(bins).fill(0);
  for (const i of shown) {
    const bin = Math.floor((column.values[i] - column.low) / width);
    if (Number.isFinite(bin)) counts[Math.min(bins - 1, bin)]++;
  }
  return counts;
}

// How many images have each of a column's names, [count ..].
export function nameCounts(column, shown) {
  const counts = range(column.names.length).fill(0);
  for (const i of shown) if (column.values[i] >= 0) counts[column.values[i]]++;
  return counts;
}
