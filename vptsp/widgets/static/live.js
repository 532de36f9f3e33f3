// A run as it trains: a bar, curves, and a button that stops it.
import {band, horizontal, linear, marker, padded, polyline, text, ticks} from "./charts.js";
import {asRoot, make} from "./dom.js";
import {svg} from "./svg.js";

const CHART = {width: 360, height: 220, left: 46, right: 12, top: 46, bottom: 34};
const MOST_MARKS = 40;    // points of a line that are marked one by one
const KEY_Y = 30;

const FROM = CHART.left;
const TO = CHART.width - CHART.right;
const MIDDLE = (FROM + TO) / 2;

// All numbers of a panel that must be seen.
function panelValues(panel) {
  const shaded = panel.band ? [...panel.band.low, ...panel.band.high] : [];
  return [...panel.lines.flatMap(({y}) => y), ...panel.levels.map(({y}) => y), ...shaded];
}

// Whole epochs, as far as there is something.
function epochsShown(lines, all) {
  const last = Math.max(0, ...lines.flatMap(({x}) => x));
  return Math.min(all, Math.max(1, Math.ceil(last)));
}

function axes(x, y, [low, high], epochs) {
  const middle = {"text-anchor": "middle"};
  const values = ticks(low, high, 5).flatMap((value) => [
    horizontal(y(value), FROM, TO, {class: "grid"}),
    text(CHART.left - 5, y(value) + 3.5, value, {"text-anchor": "end"})
  ]);
  const under = CHART.height - CHART.bottom + 14;
  const times = ticks(0, epochs, 8, 1);
  const labels = times.map((time) => text(x(time), under, time, middle));
  return [...values, ...labels, text(MIDDLE, CHART.height - 4, "epoch", middle)];
}

function curve(line, x, y) {
  const points = line.x.map((time, i) => [x(time), y(line.y[i])]);
  const drawn = polyline(points, line.color, {"data-name": line.name});
  if (points.length > MOST_MARKS) return [drawn];
  return [drawn, ...points.flatMap(([px, py]) => marker(line.mark, px, py, line.color))];
}

function level({name, y: value, color}, y) {
  const look = {stroke: color, "stroke-dasharray": "6 4", "stroke-width": 1.5};
  return horizontal(y(value), FROM, TO, {...look, "data-name": name});
}

function shade({x: times, low, high}, colour, x, y) {
  const points = (values) => times.map((time, i) => [x(time), y(values[i])]);
  return band(points(high), points(low), colour);
}

// The names of lines and levels, side by side above the chart.
function names({lines, levels}) {
  const drawn = [];
  let at = CHART.left;
  for (const line of [...lines.filter(({y}) => y.length), ...levels]) {
    const dashes = line.mark === undefined ? {"stroke-dasharray": "5 3"} : {};
    const look = {stroke: line.color, "stroke-width": 2, ...dashes};
    drawn.push(horizontal(KEY_Y, at, at + 18, look));
    drawn.push(...marker(line.mark, at + 9, KEY_Y, line.color));
    drawn.push(text(at + 22, KEY_Y + 3.5, line.name));
    at += 38 + line.name.length * 5.2;
  }
  return drawn;
}

function panelChart(panel, all) {
  const {width, height, left, right, top, bottom} = CHART;
  const attributes = {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": panel.alt};
  const chart = svg("svg", attributes, text(left, 15, panel.title, {class: "title"}));
  const values = panelValues(panel);
  if (!values.length) {
    const middle = (top + height - bottom) / 2;
    chart.append(text(MIDDLE, middle, panel.empty, {"text-anchor": "middle"}));
    return chart;
  }
  const limits = padded(values);
  const epochs = epochsShown(panel.lines, all);
  const x = linear(0, epochs, left, width - right);
  const y = linear(...limits, height - bottom, top);
  chart.append(...axes(x, y, limits, epochs));
  if (panel.band) chart.append(shade(panel.band, panel.lines[0].color, x, y));
  chart.append(...panel.levels.map((line) => level(line, y)));
  chart.append(...panel.lines.flatMap((line) => curve(line, x, y)));
  chart.append(...names(panel));
  return chart;
}

// Interrupt a kernel by the Jupyter server that this page came from.
async function interrupt(kernel) {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
  const headers = {};
  if (xsrf) headers["X-XSRFToken"] = xsrf[1];
  if (config.token) headers.Authorization = `token ${config.token}`;
  const url = `${config.baseUrl}api/kernels/${encodeURIComponent(kernel)}/interrupt`;
  const reply = await fetch(url, {method: "POST", credentials: "same-origin", headers});
  if (!reply.ok) throw new Error(reply.statusText);
}

class LiveView {
  constructor(model, root) {
    this.model = model;
    this.root = asRoot(root, "vptsp-live");
    this.asked = "";  // what the button did, while the run goes on
    this.bar = make("progress", {max: 1, ariaLabel: "share of the run that is done"});
    this.stop = make("button", {type: "button", textContent: "Stop"});
    this.stop.onclick = () => this.askToStop();
    this.status = make("span", {role: "status"});
    this.more = make("input", {type: "checkbox", checked: model.get("extra")});
    this.more.onchange = () => this.showMore();
    this.moreLabel = make("label", {}, this.more, make("span", {textContent: " proxy drift"}));
    this.charts = make("div", {className: "charts"});
    const head = [this.bar, this.stop, this.status, this.moreLabel];
    root.dataset.lmSuppressShortcuts = "true";  // keys are for the button, not for the notebook
    root.append(make("div", {className: "head"}, ...head), this.charts);
  }

  show() {
    const state = this.model.get("state");
    const running = state.phase === "running";
    this.root.dataset.phase = state.phase;
    this.bar.value = state.done;
    this.bar.hidden = !state.panels.length;
    this.stop.hidden = !running && state.phase !== "stopping";
    this.stop.disabled = !running || this.asked !== "";
    this.status.textContent = running && this.asked ? this.asked : state.text;
    this.moreLabel.hidden = !state.panels.some((panel) => panel.extra);
    const shown = state.panels.filter((panel) => !panel.extra || this.more.checked);
    this.charts.replaceChildren(...shown.map((panel) => panelChart(panel, state.epochs)));
    if (!running) this.asked = "";
  }

  showMore() {
    this.model.set("extra", this.more.checked);
    this.model.save_changes();
    this.show();
  }

  async askToStop() {
    this.say("stopping ...");
    try {
      await interrupt(this.model.get("kernel"));
    } catch {
      this.say("this page cannot reach the kernel: press its interrupt button to stop");
    }
  }

  say(words) {
    this.asked = words;
    this.show();
  }
}

function render({model, el}) {
  const view = new LiveView(model, el);
  model.on("change:state", () => view.show());
  view.show();
}

export default {render};
