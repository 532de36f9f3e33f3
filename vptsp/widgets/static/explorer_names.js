// Names on the explorer's map, where the images of a group lie together.
const MOST_SHOWN = 14;
const MOST_GROUPS = 60;    // for names of groups; of more, zoom in for those of classes
const MOST_LETTERS = 24;
const NEAR = 3;            // how far to zoom in for names of classes
const APART = .12;         // of the map: a group that lies further from its middle has no name
const SAMPLED = 300;       // images of a group that its middle is taken from
const LETTERS = 12;        // pixels

const WITHOUT_NAMES = new Set(["split", "R@1", "change"]);  // they say nothing of a place

function median(values) {
  return Float32Array.from(values).sort()[values.length >> 1];
}

// The groups of images by their value, those that lie together: [value, count, x, y].
export function middles(values, count, places, visible) {
  const members = Array.from({length: count}, () => []);
  const counts = new Int32Array(count);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value < 0 || !visible[i]) continue;
    if (counts[value]++ < SAMPLED) members[value].push(i);
  }
  const found = [];
  for (const [value, ids] of members.entries()) {
    if (!ids.length) continue;
    const [x, y] = [0, 1].map((axis) => median(ids.map((i) => places[2 * i + axis])));
    const away = ids.map((i) => Math.hypot(places[2 * i] - x, places[2 * i + 1] - y));
    const own = ids[away.indexOf(Math.min(...away))];     // the middle of two parts may be empty
    const isApart = median(away) > APART;
    if (!isApart) found.push([value, counts[value], places[2 * own], places[2 * own + 1]]);
  }
  return found.sort((a, b) => b[1] - a[1]);
}

export class Names {
  constructor(map) {
    this.map = map;
    this.on = true;
    this.forget();
  }

  forget() {
    this.found = new Map();
  }

  // The column whose values are named: of groups, or of classes where these are near.
  column() {
    const {study, column, at} = this.map;
    const isNamed = ({name, names}) => names?.length > 1 && !WITHOUT_NAMES.has(name);
    const isFew = (c) => isNamed(c) && c.names.length <= MOST_GROUPS;
    if (at.zoom >= NEAR) return [study.column("class")].find(isNamed);
    return isFew(column) ? column : study.columns.find((c) => c.name !== "class" && isFew(c))
      ?? [study.column("class")].find(isFew);
  }

  groups(column) {
    const {at, visible} = this.map;
    const {name, names, values} = column;
    const make = () => middles(values, names.length, at.places, visible);
    if (!this.found.has(name)) this.found.set(name, make());
    return this.found.get(name);
  }

  paint(context, foreground, background) {
    const {map} = this;
    const isStill = map.at.moving === map.at.epoch && !map.thumbnails.shown;
    const column = this.on && isStill && this.column();
    if (!column) return;
    const height = LETTERS * map.ratio;
    const taken = [];
    context.font = `600 ${height}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const [value, , u, v] of this.groups(column)) {
      if (taken.length === MOST_SHOWN) break;
      const name = column.names[value];
      const words = name.length > MOST_LETTERS ? `${name.slice(0, MOST_LETTERS - 1)}…` : name;
      const half = context.measureText(words).width / 2 + 3 * map.ratio;
      const [x, y] = [map.px(u), map.py(v)];
      if (x < half || y < height || x > map.width - half || y > map.height - height) continue;
      const isFree = taken.every(([tx, ty, wide]) => {
        return Math.abs(tx - x) > wide + half || Math.abs(ty - y) > 1.6 * height;
      });
      if (!isFree) continue;
      taken.push([x, y, half]);
      context.lineWidth = 4 * map.ratio;
      context.strokeStyle = background;
      context.fillStyle = foreground;
      context.strokeText(words, x, y);
      context.fillText(words, x, y);
    }
  }
}
