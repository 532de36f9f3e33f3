const NS = "http://www.w3.org/2000/svg";
function node(parent, tag, attributes = {}, text) {
  const e = tag === "svg" || parent.namespaceURI === NS ? document.createElementNS(NS, tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}
function ticks(lo, hi, most, least = 0) {
  const raw = Math.max((hi - lo)/most, least), ten = 10**Math.floor(Math.log10(raw)), step = ten*[1, 2, 5, 10].find(s => s*ten >= raw*.999), out = [];
  for (let i = Math.ceil(lo/step - 1e-6); i*step <= hi + 1e-6*step; i++) out.push(+(i*step).toPrecision(8));
  return out;
}
function mark(svg, kind, x, y, fill) {
  if (kind === "circle") node(svg, "circle", {cx: x, cy: y, r: 3.2, fill});
  if (kind === "square") node(svg, "rect", {x: x - 3, y: y - 3, width: 6, height: 6, fill});
}
function chart(parent, p, all) {
  const W = 360, H = 220, L = 46, R = 12, T = 46, B = 34;
  const svg = node(parent, "svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": p.alt});
  const ys = [...p.lines.flatMap(l => l.y), ...p.levels.map(l => l.y), ...(p.band ? [...p.band.low, ...p.band.high] : [])];
  node(svg, "text", {x: L, y: 15, class: "title"}, p.title);
  if (!ys.length) { node(svg, "text", {x: (L + W - R)/2, y: (T + H - B)/2, "text-anchor": "middle"}, p.empty); return; }
  let lo = Math.min(...ys), hi = Math.max(...ys); const pad = .07*(hi - lo) || .05*Math.abs(hi) || 1; lo -= pad; hi += pad;
  const epochs = Math.min(all, Math.max(1, Math.ceil(Math.max(0, ...p.lines.flatMap(l => l.x)))));        // as far as there is something
  const X = v => L + v/epochs*(W - L - R), Y = v => H - B - (v - lo)/(hi - lo)*(H - T - B);
  for (const t of ticks(lo, hi, 5)) { node(svg, "line", {x1: L, x2: W - R, y1: Y(t), y2: Y(t), class: "grid"}); node(svg, "text", {x: L - 5, y: Y(t) + 3.5, "text-anchor": "end"}, t); }
  for (const t of ticks(0, epochs, 8, epochs > 1 ? 1 : 0)) node(svg, "text", {x: X(t), y: H - B + 14, "text-anchor": "middle"}, t);
  node(svg, "text", {x: (L + W - R)/2, y: H - 4, "text-anchor": "middle"}, "epoch");
  if (p.band) node(svg, "polygon", {points: [...p.band.x.map((x, i) => `${X(x)},${Y(p.band.high[i])}`), ...p.band.x.map((x, i) => `${X(x)},${Y(p.band.low[i])}`).reverse()].join(" "), fill: p.lines[0].color, opacity: .25});
  for (const l of p.levels) node(svg, "line", {x1: L, x2: W - R, y1: Y(l.y), y2: Y(l.y), stroke: l.color, "stroke-dasharray": "6 4", "stroke-width": 1.5, "data-name": l.name});
  for (const l of p.lines) {
    node(svg, "polyline", {points: l.x.map((x, i) => `${X(x)},${Y(l.y[i])}`).join(" "), fill: "none", stroke: l.color, "stroke-width": 2, "data-name": l.name});
    if (l.x.length <= 40) l.x.forEach((x, i) => mark(svg, l.mark, X(x), Y(l.y[i]), l.color));
  }
  let at = L;
  for (const l of [...p.lines.filter(l => l.y.length), ...p.levels]) {
    node(svg, "line", {x1: at, x2: at + 18, y1: 30, y2: 30, stroke: l.color, "stroke-width": 2, ...(l.mark === undefined ? {"stroke-dasharray": "5 3"} : {})});
    mark(svg, l.mark, at + 9, 30, l.color);
    at += 22 + node(svg, "text", {x: at + 22, y: 33.5}, l.name).textContent.length*5.2 + 16;
  }
}
async function interrupt(kernel) {                                   // Jupyter's own server
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent), xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
  const reply = await fetch(`${config.baseUrl}api/kernels/${encodeURIComponent(kernel)}/interrupt`, {method: "POST", credentials: "same-origin",
    headers: {...(xsrf ? {"X-XSRFToken": xsrf[1]} : {}), ...(config.token ? {Authorization: `token ${config.token}`} : {})}});
  if (!reply.ok) throw new Error(reply.statusText);
}
function render({model, el}) {
  el.classList.add("vptsp-live"); el.dataset.lmSuppressShortcuts = "true";                    // keys are for the button, not for the notebook
  const head = node(el, "div", {class: "head"}), bar = node(head, "progress", {max: 1, "aria-label": "share of the run that is done"});
  const stop = node(head, "button", {type: "button"}, "Stop"), status = node(head, "span", {role: "status"});
  const label = node(head, "label"), more = node(label, "input", {type: "checkbox"}); node(label, "span", {}, " proxy drift");
  const charts = node(el, "div", {class: "charts"});
  more.checked = model.get("extra");
  let asked = "";
  const show = () => {
    const s = model.get("state"), running = s.phase === "running";
    bar.value = s.done; bar.hidden = !s.panels.length; stop.hidden = !running && s.phase !== "stopping"; stop.disabled = !running || asked !== "";
    status.textContent = running && asked ? asked : s.text;
    el.dataset.phase = s.phase;
    label.hidden = !s.panels.some(p => p.extra);
    charts.replaceChildren();
    for (const p of s.panels) if (!p.extra || more.checked) chart(charts, p, s.epochs);
    if (!running) asked = "";
  };
  more.onchange = () => { model.set("extra", more.checked); model.save_changes(); show(); };
  stop.onclick = async () => {
    asked = "stopping ..."; show();
    try { await interrupt(model.get("kernel")); } catch { asked = "this page cannot reach the kernel: press its interrupt button to stop"; show(); }
  };
  model.on("change:state", show); show();
}

export default {render};
