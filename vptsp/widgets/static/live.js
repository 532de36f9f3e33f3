// A run as it trains: a bar, curves, and a button that stops it. Or the curves of finished runs.
import {asRoot, button, make} from "./dom.js";
import {Panel} from "./live_panel.js";

const HINT = "Point at a chart, or press the arrow keys in it, for its values. "
  + "Drag over it to zoom, double-click to see all again.";
const HOW_TO_STOP = "To stop, interrupt the kernel with the notebook's own button "
  + "(VS Code: Interrupt; Colab: Runtime, Interrupt execution).";

// Whole epochs, as far as there is something.
export function epochsShown(panels, all) {
  const last = Math.max(0, ...panels.flatMap(({lines}) => lines.flatMap(({x}) => x)));
  return Math.min(all, Math.max(1, Math.ceil(last)));
}

// The part [from, to] as far as it is in the whole; null for all of it.
export function partOf(wanted, whole) {
  if (wanted === null) return null;
  const part = [Math.max(0, wanted[0]), Math.min(whole, wanted[1])];
  return part[1] - part[0] >= whole || part[1] <= part[0] ? null : part;
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
    this.asked = "";       // what the button did, while the run goes on
    this.refused = false;  // whether the server did not take the interrupt
    this.at = null;        // the epoch that is pointed at
    this.part = null;      // of the epochs, that is shown; null for all
    this.panels = new Map();
    this.bar = make("progress", {max: 1, ariaLabel: "share of the run that is done"});
    this.stop = button("Stop", () => this.askToStop(), {type: "button"});
    this.status = make("span", {role: "status"});
    this.how = make("span", {className: "how", textContent: HOW_TO_STOP});
    this.head = make("div", {className: "head"}, this.bar, this.stop, this.status, this.how);
    this.charts = make("div", {className: "charts"});
    this.hint = make("div", {className: "hint", textContent: HINT});
    root.dataset.lmSuppressShortcuts = "true";  // keys are for what is here, not for the notebook
    root.append(this.head, this.controls(), this.charts, this.hint);
  }

  controls() {
    this.log = this.checkbox("log");
    this.more = this.checkbox("extra");
    const range = {type: "range", min: 0, max: .98, step: .02};
    this.smooth = make("input", {...range, ariaLabel: "smoothing"});
    this.smoothLabel = make("output", {});
    this.smooth.oninput = () => this.smoothing(false);
    this.smooth.onchange = () => this.smoothing(true);
    this.all = button("whole run", () => this.zoom(null), {type: "button"});
    this.logLabel = make("label", {}, this.log, " loss on a log scale");
    this.softLabel = make("label", {}, "smoothing ", this.smooth, " ", this.smoothLabel);
    this.moreLabel = make("label", {}, this.more, " proxy drift");
    const shown = [this.logLabel, this.softLabel, this.moreLabel, this.all];
    return make("div", {className: "controls"}, ...shown);
  }

  checkbox(trait) {
    const box = make("input", {type: "checkbox"});
    box.onchange = () => this.choose(trait, box.checked);
    return box;
  }

  choose(trait, value) {
    this.model.set(trait, value);
    this.model.save_changes();
    this.show();
  }

  // While the slider is dragged only the page follows, then Python too.
  smoothing(done) {
    this.weight = Number(this.smooth.value);
    if (done) this.choose("smooth", this.weight);
    else this.show();
  }

  // What the person chose, and Python may have set.
  chosen() {
    this.log.checked = Boolean(this.model.get("log"));
    this.more.checked = Boolean(this.model.get("extra"));
    this.smooth.value = this.weight ?? this.model.get("smooth") ?? 0;
    this.smoothLabel.textContent = Number(this.smooth.value).toFixed(2);
    return {log: this.log.checked, smooth: Number(this.smooth.value)};
  }

  show() {
    const state = this.model.get("state");
    const running = state.phase === "running";
    this.root.dataset.phase = state.phase;
    this.head.hidden = state.phase === "shown";
    this.bar.value = state.done;
    this.bar.hidden = !state.panels.length;
    this.status.textContent = running && this.asked ? this.asked : state.text;
    this.showStop(running, state.phase === "stopping");
    this.showPanels(state);
    if (!running) this.asked = "";
  }

  // The button where it works, else the sentence that says what does; of a saved page neither.
  showStop(running, stopping) {
    const kernel = this.model.get("kernel");
    const served = kernel && document.getElementById("jupyter-config-data") && !this.refused;
    this.stop.hidden = !served || !(running || stopping);
    this.stop.disabled = !running || this.asked !== "";
    this.how.hidden = Boolean(served) || !running || kernel === undefined;
  }

  showPanels({panels, epochs}) {
    const look = this.chosen();
    const can = (what) => panels.some((panel) => panel[what]);
    const soft = panels.some(({lines}) => lines.some((line) => line.smooth && line.y.length > 2));
    this.logLabel.hidden = !can("log");
    this.softLabel.hidden = !soft;
    this.moreLabel.hidden = !can("extra");
    this.hint.hidden = !panels.length;
    const shown = panels.filter((panel) => !panel.extra || this.more.checked);
    const whole = epochsShown(shown, epochs);
    this.part = partOf(this.part, whole);
    this.whole = whole;
    this.all.hidden = this.part === null;
    for (const panel of shown) {
      if (!this.panels.has(panel.title)) this.panels.set(panel.title, new Panel(this));
      this.panels.get(panel.title).draw(panel, {...look, whole, part: this.part ?? [0, whole]});
    }
    this.place(shown.map(({title}) => this.panels.get(title).element));
  }

  // Only where others are there now: a panel that stays keeps the focus.
  place(elements) {
    const there = [...this.charts.children];
    const same = there.length === elements.length && there.every((one, i) => one === elements[i]);
    if (!same) this.charts.replaceChildren(...elements);
  }

  point(time) {
    this.at = time ?? null;
    for (const panel of this.panels.values()) panel.point(this.at);
  }

  zoom(part) {
    this.part = partOf(part, this.whole);
    this.show();
  }

  async askToStop() {
    this.say("stopping ...");
    try {
      await interrupt(this.model.get("kernel"));
    } catch {
      this.refused = true;
      this.say("");
    }
  }

  say(words) {
    this.asked = words;
    this.show();
  }
}

function render({model, el}) {
  const view = new LiveView(model, el);
  const follow = () => {
    view.weight = undefined;
    view.show();
  };
  model.on("change:state", () => view.show());
  for (const trait of ["log", "smooth", "extra"]) model.on(`change:${trait}`, follow);
  view.show();
}

export default {render};
