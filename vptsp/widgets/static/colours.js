// The one place for colours. Python reads the constants too, so their values are written as JSON.

// Classes and other named values, after Okabe and Ito, and Tol.
export const PALETTE = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
  "#8a6fc4", "#7a7a7a", "#9a6324", "#aa4499", "#999933", "#44aa99"
];

// Numbers, from blue to yellow: seen on white and on black.
export const RAMP = ["#2c5aa0", "#607896", "#969682", "#c8b45a", "#f0c81e"];

// Shares of attention over a picture, dark to bright: matplotlib's cividis.
export const LOW = [
  "#00224e", "#123570", "#3b496c", "#575d6d", "#707173",
  "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"
];

// Differences, from blue over white to vermilion.
export const BOTH = ["#003f66", "#0072b2", "#7fb8d8", "#f2f2f2", "#eaae7e", "#d55e00", "#7a3600"];

// Frames of right (solid) and wrong (dashed) images, what is pressed, and no value.
export const RIGHT = "#2a9d4a";
export const WRONG = "#d1495b";
export const ACCENT = "#0072b2";
export const NONE = "#969696";

// The kinds of proxies: what they are called, their mark on a map, their line in a chart.
export const KINDS = {
  "proxy": {"name": "proxy", "mark": "★", "colour": "#0072b2", "dash": ""},
  "semantic": {
    "name": "semantic proxy (memory)", "mark": "☆", "colour": "#d55e00", "dash": "6 3"
  },
  "bias": {"name": "bias", "mark": "✚", "colour": "#009e73", "dash": "2 3"}
};

// Red, green and blue of "#rrggbb", 0 to 255.
export function rgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

// Red, green and blue for `share` between 0 and 1 of the way through `stops`.
export function scale(share, stops = RAMP) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const before = Math.min(Math.floor(place), stops.length - 2);
  const rest = place - before;
  const from = rgb(stops[before]);
  const to = rgb(stops[before + 1]);
  return from.map((value, i) => Math.round(value + rest * (to[i] - value)));
}

// The colour of the named value number `value`; below zero there is none.
export function named(value) {
  return value < 0 ? NONE : PALETTE[value % PALETTE.length];
}

// A style sheet's bar of all colours of `stops`.
export function gradient(stops) {
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
