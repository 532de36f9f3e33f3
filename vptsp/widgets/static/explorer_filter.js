// A filter of the explorer: a column, how its values are spread, and which of them are shown.
import {named} from "./colours.js";
import {button, make} from "./dom.js";
import {histogram, nameCounts} from "./explorer_search.js";

const MOST_BUTTONS = 40;

export class Filter {
  // changed(test): show only images that pass, or all for null
  constructor(study, map, changed) {
    Object.assign(this, {study, map, changed});
    const columns = study.columns.filter(({name}) => name !== "split");
    const names = columns.map(({name}) => make("option", {value: name, textContent: name}));
    this.field = make("select", {ariaLabel: "filter by"},
      make("option", {value: "", textContent: "nothing"}), ...names);
    this.field.onchange = () => this.open(this.field.value);
    this.body = make("div", {className: "v-filter"});
    const label = make("label", {}, "filter by ", this.field);
    this.element = make("div", {className: "v-row"}, label, this.body);
  }

  open(name) {
    this.changed(null);
    this.body.replaceChildren();
    if (!name) return;
    const column = this.study.column(name);
    if (!column.names) this.showRange(column);
    else if (column.names.length <= MOST_BUTTONS) this.showNames(column);
    else this.body.textContent = `${column.names.length.toLocaleString()} values: search for one`;
  }

  // Bars of a column of numbers, and two sliders for the ends of what is shown.
  showRange(column) {
    const counts = histogram(column, this.map.shownImages());
    const most = Math.max(1, ...counts);
    const bars = counts.map((count) => make("i", {style: `height:${100 * count / most}%`}));
    const ends = [column.low, column.high];
    const words = make("output");
    const told = () => {
      const [low, high] = ends.map((value) => value.toPrecision(3));
      words.textContent = `${low} to ${high}`;
      for (const [b, bar] of bars.entries()) {
        const middle = column.low + (b + .5) / bars.length * (column.high - column.low);
        bar.style.opacity = middle >= ends[0] && middle <= ends[1] ? 1 : .25;
      }
    };
    const sliders = ["lowest", "highest"].map((which, end) => {
      const step = (column.high - column.low) / 200 || 1;
      const range = {type: "range", min: column.low, max: column.high, step, value: ends[end]};
      const slider = make("input", {...range, ariaLabel: `${which} ${column.name}`});
      slider.oninput = () => {
        ends[end] = Number(slider.value);
        told();
        this.changed((i) => column.values[i] >= ends[0] && column.values[i] <= ends[1]);
      };
      return slider;
    });
    told();
    const title = `how ${column.name} is spread`;
    const picture = make("div", {className: "v-bars", role: "img", ariaLabel: title}, ...bars);
    this.body.replaceChildren(picture, ...sliders, words);
  }

  // A button a name, with how many images have it; pressed, only such are shown.
  showNames(column) {
    const counts = nameCounts(column, this.map.shownImages());
    const wanted = new Set();
    const buttons = column.names.map((name, value) => {
      const dot = make("i", {style: `background:${column.colours?.[value] ?? named(value)}`});
      const count = make("small", {textContent: ` ${counts[value].toLocaleString()}`});
      const element = button("", () => {
        const on = element.ariaPressed !== "true";
        element.ariaPressed = String(on);
        if (on) wanted.add(value);
        else wanted.delete(value);
        this.changed(wanted.size ? (i) => wanted.has(column.values[i]) : null);
      }, {ariaPressed: "false"});
      element.append(dot, name, count);
      return element;
    });
    this.body.replaceChildren(...buttons);
  }
}
