const colours = {
  low: ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],   // cividis
  both: ["#003f66", "#0072b2", "#7fb8d8", "#f2f2f2", "#eaae7e", "#d55e00", "#7a3600"] };                                  // blue, white, vermilion
const colour = (t, name) => {
  const c = colours[name], x = Math.min(Math.max(t, 0), 1)*(c.length - 1), i = Math.min(Math.floor(x), c.length - 2), f = x - i;
  return [1, 3, 5].map(k => Math.round((1 - f)*parseInt(c[i].slice(k, k + 2), 16) + f*parseInt(c[i + 1].slice(k, k + 2), 16))); };
const percent = v => `${(100*v).toFixed(Math.abs(v) < .0995 ? 2 : 1)}%`;
const make = (tag, about = {}, ...inside) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(about)) k in e && k !== "width" && k !== "height" ? e[k] = v : e.setAttribute(k, v);
  if (["select", "input", "button", "canvas"].includes(tag)) e.dataset.lmSuppressShortcuts = "true";          // keys pressed here are not JupyterLab's
  e.append(...inside); return e; };

function render({ model, el }) {
  const about = model.get("_about"), raw = model.get("_maps"), [gh, gw] = about.grid, N = gh*gw, h = about.heads, side = 288;
  const buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength), [rows, exact] = about.maps;
  const top = new Float32Array(buffer, 0, rows), floats = new Float32Array(buffer, 4*rows, exact*N), bytes = new Uint8Array(buffer, 4*(rows + exact*N));
  const get = k => model.get(k), set = changes => { for (const [k, v] of Object.entries(changes)) model.set(k, v); model.save_changes(); };
  const given = () => about.passes[get("prompts")], pass = (show = get("show")) => show === "without" ? about.passes["no prompts"] : given();
  const prompt = () => get("prompt") < given().prompts[get("block")] ? get("prompt") : -1;             // a block may have fewer

  // numbers: means of maps over heads, and sums or means over prompts
  const heads = () => get("head") < 0 ? [...Array(h).keys()] : [get("head")];
  const mean = f => heads().reduce((t, k) => t + f(k), 0)/heads().length;
  const float = (start, image, k, of) => floats.subarray((start + (get("block")*about.images.length + image)*of + k)*N).subarray(0, N);
  const taken = (p, image, k, j) => p.blocks[get("block")] + (image*h + k)*2*p.prompts[get("block")] + j;   // j beyond the prompts: what they would look at
  const maps = (image, show) => {
    const p = pass(show), n = p.prompts[get("block")], out = new Float32Array(N);
    if (show === "difference") { const a = maps(image, "with"), b = maps(image, "without"); return a.map((v, i) => v - b[i]); }
    if (show === "rollout") return float(p.rollout, image, 0, 1);
    if (show === "with" || show === "without") return out.map((_, i) => mean(k => float(p.reads, image, k, h)[i]));
    const js = prompt() < 0 ? [...Array(n).keys()] : [prompt()], many = heads().length*(show === "looks" ? Math.max(js.length, 1) : 1);
    for (const k of heads()) for (const j of js) { const r = taken(p, image, k, j + (show === "looks" ? n : 0)), s = top[r]/255/many; for (let i = 0; i < N; i++) out[i] += s*bytes[r*N + i]; }
    return out; };
  const even = () => { const p = pass(), l = get("block"), s = get("show"); return s === "rollout" || s === "difference" ? null : (s === "takes" && prompt() < 0 ? p.prompts[l] : 1)/p.keys[l]; };
  const shares = image => [0, 1, 2].map(i => mean(k => given().shares[get("block")][image][k][i]));

  // controls: each is a label around one native element, and one trait
  const controls = make("div", { className: "row", role: "group", ariaLabel: "What to show" }), fill = {};
  const choice = (key, text, options) => {
    const e = make("select", { ariaLabel: text });
    e.dataset.testid = key; e.onchange = () => set({ [key]: JSON.parse(e.value) });
    fill[key] = () => { e.replaceChildren(...options().map(([v, t]) => make("option", { value: JSON.stringify(v), textContent: t })));
                        e.value = JSON.stringify(key === "prompt" ? prompt() : get(key)); };
    controls.append(make("label", {}, text, e)); };
  const images = () => about.images.map((m, i) => [i, m.name]), count = (n, word) => [...Array(n).keys()].map(i => [i, `${word} ${i}`]);
  choice("left", "image", images);
  if (about.images.length > 1) choice("right", "beside it", () => [[-1, "nothing"], ...images()]);
  choice("prompts", "prompts", () => (Object.keys(about.passes).length > 1 ? Object.keys(about.passes).slice(1) : ["no prompts"]).map(n => [n, n]));
  choice("show", "show", () => Object.entries(about.shows));
  choice("prompt", "prompt", () => [[-1, "all of the block"], ...count(given().prompts[get("block")], "prompt")]);
  choice("block", "block", () => count(about.depth, "block"));
  choice("head", "head", () => [[-1, "mean of heads"], ...count(h, "head")]);
  const strength = make("input", { type: "range", min: 0, max: 1, step: .05, ariaLabel: "strength of the overlay" });
  strength.dataset.testid = "strength"; strength.oninput = () => set({ strength: +strength.value }); fill.strength = () => { strength.value = get("strength"); };
  controls.append(make("label", {}, "strength", strength));

  // pictures: image, overlay, and below it where the attention goes
  const panel = name => {
    const canvas = make("canvas", { tabIndex: 0, width: side, height: Math.round(side*gh/gw), role: "img" }), bars = make("canvas", { width: side, height: 48, role: "img" }), caption = make("figcaption"), note = make("small");
    canvas.dataset.testid = name; caption.dataset.testid = name + "-shares"; bars.dataset.testid = name + "-bars"; note.dataset.testid = name + "-bars-note";
    const at = e => { const r = canvas.getBoundingClientRect(), c = Math.floor((e.clientX - r.left)/r.width*gw), y = Math.floor((e.clientY - r.top)/r.height*gh); return Math.min(Math.max(y, 0), gh - 1)*gw + Math.min(Math.max(c, 0), gw - 1); };
    canvas.onpointermove = e => say(at(e)); canvas.onpointerleave = () => say(get("patch"));
    canvas.onclick = e => set({ patch: at(e) === get("patch") ? -1 : at(e) });
    canvas.onkeydown = e => { const i = Math.max(get("patch"), 0), y = Math.floor(i/gw), x = i%gw,
        to = { ArrowUp: y > 0 ? i - gw : i, ArrowDown: y < gh - 1 ? i + gw : i, ArrowLeft: x > 0 ? i - 1 : i, ArrowRight: x < gw - 1 ? i + 1 : i, Escape: -1 }[e.key];
      if (to === undefined) return; e.preventDefault(); set({ patch: get("patch") < 0 && to >= 0 ? 0 : to }); };
    return { canvas, bars, caption, note, figure: make("figure", {}, canvas, caption, note, bars) }; };
  const panels = { left: panel("left-picture"), right: panel("right-picture") };
  const bar = make("div", { className: "bar", role: "img" }), said = make("div", { ariaLive: "polite" });
  bar.dataset.testid = "scale"; said.dataset.testid = "readout";
  const pictures = about.images.map(m => { const i = new Image(); i.src = m.src; return i; });

  let shown = {}, range = 1, low = 0;
  const drawPicture = (p, image) => {
    const g = p.canvas.getContext("2d"), name = get("show") === "difference" ? "both" : "low", { width: w, height: t } = p.canvas, m = shown[image], x = i => Math.round(i*w/gw), y = i => Math.round(i*t/gh);
    g.globalAlpha = 1; g.clearRect(0, 0, w, t); if (pictures[image].complete) g.drawImage(pictures[image], 0, 0, w, t);
    g.globalAlpha = get("strength");
    for (let i = 0; i < N; i++) { const c = i%gw, r = Math.floor(i/gw); g.fillStyle = `rgb(${colour((m[i] - low)/(range - low), name)})`; g.fillRect(x(c), y(r), x(c + 1) - x(c), y(r + 1) - y(r)); }
    g.globalAlpha = 1;
    if (get("patch") >= 0) { const c = get("patch")%gw, r = Math.floor(get("patch")/gw); for (const [style, width] of [["#000", 4], ["#fff", 2]]) { g.strokeStyle = style; g.lineWidth = width; g.strokeRect(x(c) + 2, y(r) + 2, x(c + 1) - x(c) - 4, y(r + 1) - y(r) - 4); } } };
  const each = image => { const p = given(), l = get("block"), i = get("patch");
    return [...Array(p.prompts[l]).keys()].map(j => mean(k => { if (i < 0) return p.to[l][image][k][j]; const r = taken(p, image, k, j); return top[r]*bytes[r*N + i]/255; })); };
  const drawBars = (p, image, values, best) => {
    const n = values.length, g = p.bars.getContext("2d"), height = v => 47*v/best, who = get("patch") < 0 ? `the ${about.reader}` : `patch ${get("patch")}`;
    g.clearRect(0, 0, side, 48); p.note.textContent = n ? `What ${who} takes from each prompt; dashed: even, ${percent(1/given().keys[get("block")])}` : "";
    p.bars.ariaLabel = n ? `${who} takes from each prompt: ${values.map((v, j) => `${j}: ${percent(v)}`).join(", ")}` : "no prompts in this block";
    values.forEach((v, j) => { g.fillStyle = j === prompt() ? "#d55e00" : "#0072b2"; g.fillRect(j*side/n + .5, 48 - height(v), Math.max(side/n - 1, 1), height(v)); });
    if (!n) return;
    const y = 48 - height(1/given().keys[get("block")]); g.strokeStyle = "#999"; g.setLineDash([3, 3]); g.beginPath(); g.moveTo(0, y); g.lineTo(side, y); g.stroke(); };
  const drawScale = () => {
    const two = get("show") === "difference", stops = (two ? colours.both : colours.low).join(", "), e = even(), unit = about.units[get("show")];
    const line = make("div"); line.style.cssText = `height: 12px; background: linear-gradient(to right, ${stops})`;
    bar.replaceChildren(line);
    if (e !== null && e <= range) bar.append(...[make("i"), make("b", { textContent: `even ${percent(e)}` })].map((x, i) => { x.style.left = `${100*e/range}%`; return x; }));
    [[0, two ? percent(low) : "0"], [.5, unit], [1, percent(range)]].forEach(([x, t]) => { const s = make("span", { textContent: t }); s.style.left = `${100*x}%`; bar.append(s); });
    bar.ariaLabel = `colours from ${percent(low)} to ${percent(range)}, ${unit}`; };
  const say = patch => {
    const who = [get("left"), get("right")].filter(i => i >= 0);
    said.textContent = patch < 0 ? "Point at a patch, or go to a picture with the tab key and use the arrow keys; a click keeps a patch and shows what it takes from each prompt."
      : `patch ${patch} (row ${Math.floor(patch/gw)}, column ${patch%gw}): ` + who.map(i => `${about.images[i].name} ${percent(shown[i][patch])}`).join(", ") + ` ${about.units[get("show")]}`; };

  // block x head map of entropy; one of its buttons is in the tab order, arrows move
  const grid = make("table", { ariaLabel: `entropy of the attention of the ${about.reader}, by block and head` }), cells = {};
  const note = make("div"), title = make("div");
  grid.append(make("tr", {}, make("th", { textContent: "" }), ...[...Array(h).keys()].map(k => make("th", { textContent: k, scope: "col" })), make("th", { textContent: "mean", scope: "col" })));
  for (let l = 0; l < about.depth; l++) {
    const tr = make("tr", {}, make("th", { textContent: l, scope: "row" }));
    for (let k = 0; k <= h; k++) {
      const b = make("button", { type: "button" }), head = k < h ? k : -1;
      b.dataset.testid = `entropy-${l}-${head}`; b.onclick = () => set({ block: l, head });
      b.onkeydown = e => { const to = { ArrowUp: [l - 1, k], ArrowDown: [l + 1, k], ArrowLeft: [l, k - 1], ArrowRight: [l, k + 1] }[e.key]; if (!to) return; e.preventDefault(); cells[to]?.focus(); cells[to]?.click(); };
      cells[[l, k]] = b; tr.append(make("td", {}, b)); }
    grid.append(tr); }
  const drawGrid = () => {
    const e = pass().entropy, image = get("left"), all = e.flatMap(l => l[image]), a = Math.min(...all), z = Math.max(...all);
    for (const [at, b] of Object.entries(cells)) {
      const [l, k] = at.split(",").map(Number), v = k < h ? e[l][image][k] : e[l][image].reduce((x, y) => x + y)/h, on = l === get("block") && (k < h ? k : -1) === get("head"), c = colour((v - a)/(z - a || 1), "low");
      b.style.background = `rgb(${c})`; b.style.color = c[1] > 130 ? "#000" : "#fff"; b.textContent = on ? "●" : ""; b.tabIndex = on ? 0 : -1; b.ariaPressed = on;
      b.title = b.ariaLabel = `block ${l}, ${k < h ? `head ${k}` : "mean of heads"}: entropy ${v.toFixed(2)}`; }
    title.textContent = `entropy by block (down) and head (across), ${get("show") === "without" ? "without" : "with"} prompts`;
    note.textContent = `dark ${a.toFixed(3)}, bright ${z.toFixed(3)}; 0: all on one key, 1: even`; };

  const draw = () => {
    for (const f of Object.values(fill)) f();
    const who = [...new Set([get("left"), get("right")])].filter(i => i >= 0), show = get("show"), none = (show === "takes" || show === "looks") && !given().prompts[get("block")];
    shown = Object.fromEntries(who.map(i => [i, maps(i, show)]));
    range = Math.max(...who.flatMap(i => [...shown[i]].map(Math.abs)), 1e-6); low = show === "difference" ? -range : 0;
    const bars = Object.fromEntries(who.map(i => [i, each(i)])), best = Math.max(...Object.values(bars).flat(), 1/given().keys[get("block")]);
    for (const [key, p] of Object.entries(panels)) {
      const image = get(key); p.figure.hidden = image < 0; if (image < 0) continue;
      drawPicture(p, image); drawBars(p, image, bars[image], best);
      const [a, b, c] = shares(image);
      p.caption.textContent = `${about.images[image].name}${none ? " (no prompts in this block)" : ""}. The ${about.reader} gives ${percent(a)} to prompts, ${percent(b)} to ${about.others}, ${percent(c)} to patches.`;
      p.canvas.ariaLabel = `${about.images[image].name}: ${about.shows[show]}, block ${get("block")}, ${get("head") < 0 ? "mean of heads" : `head ${get("head")}`}; most at patch ${shown[image].indexOf(Math.max(...shown[image]))}. Arrow keys choose a patch.`; }
    drawScale(); drawGrid(); say(get("patch")); };
  el.append(make("div", { className: "vptsp-attention" }, controls,
    make("div", { className: "row" }, panels.left.figure, panels.right.figure, make("div", {}, title, grid, note)), bar, said));
  const keys = ["left", "right", "block", "head", "prompts", "prompt", "show", "patch", "strength"];
  for (const k of keys) model.on(`change:${k}`, draw);
  for (const p of pictures) p.addEventListener("load", draw);
  draw();
  return () => { for (const k of keys) model.off(`change:${k}`, draw); };
}

export default {render};
