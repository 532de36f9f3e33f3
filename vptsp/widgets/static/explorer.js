const colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6fc4", "#7a7a7a", "#9a6324", "#aa4499", "#999933", "#44aa99"];                 // after Okabe and Ito, and Tol
const ramp = [[44, 90, 160], [96, 120, 150], [150, 150, 130], [200, 180, 90], [240, 200, 30]];                                  // from blue to yellow, seen on white and on black
const shapes = {proxy: "★ proxy", semantic: "☆ semantic proxy (memory)", bias: "✚ bias"};
const array = (Type, v) => new Type(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength));
const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
const word = ([r, g, b], a = 255) => (a << 24 | b << 16 | g << 8 | r) >>> 0;                                            // a pixel, little-endian
function make(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) k in el && k !== "list" ? el[k] = v : el.setAttribute(k, v);
  if (["button", "canvas", "input", "select"].includes(tag)) el.dataset.lmSuppressShortcuts = "true";             // JupyterLab would take their keys
  el.append(...children); return el;                                                                                     // text only, never markup
}
function scale(t) {
  const x = Math.min(Math.max(t, 0), 1)*(ramp.length - 1), i = Math.min(Math.floor(x), ramp.length - 2);
  return ramp[i].map((v, j) => Math.round(v + (x - i)*(ramp[i + 1][j] - v)));
}

function render({model, el}) {
  const data = model.get("payload"), n = data.n, last = data.epochs.length - 1, side = data.side;
  const places = v => Float32Array.from(array(Uint16Array, v), u => data.low + u/65535*(data.high - data.low));
  const xy = data.xy.map(places), stars = data.stars.map(s => Object.fromEntries(Object.entries(s).map(([k, v]) => [k, places(v)])));
  const label = array(Int32Array, data.label), split = array(Uint8Array, data.split), near = array(data.wide === 2 ? Uint16Array : Uint32Array, data.near), worst = array(Int32Array, data.worst);
  const columns = data.columns.map(c => ({...c, values: array(c.names ? Int32Array : Float32Array, c.values)})), k = n ? near.length/n : 0;
  const sheet = new Image(); sheet.src = URL.createObjectURL(new Blob([array(Uint8Array, data.sprite)], {type: "image/webp"}));
  const at = {epoch: model.get("epoch"), places: new Float32Array(xy[model.get("epoch")]), zoom: 1, x: 0, y: 0, hover: -1, lasso: null, moving: 0};
  const hidden = new Set(), shown = new Set(Object.keys(stars[last]).slice(0, 1));
  let chosen = new Uint8Array(n), picked = [], dirty = true, grid = null;

  // what there is to press
  const colour = make("select", {ariaLabel: "colour by"}, ...columns.map(c => make("option", {value: c.name, textContent: c.name})));
  const search = make("input", {type: "search", placeholder: "search a class", ariaLabel: "search a class", list: "vptsp-classes-" + data.id});
  const names = make("datalist", {id: "vptsp-classes-" + data.id}, ...data.classes.slice(0, 2000).map(c => make("option", {value: c.name})));
  const worstButton = make("button", {textContent: "worst queries", title: "those with the lowest MAP@R", disabled: !worst.length});
  const lassoButton = make("button", {textContent: "lasso", title: "draw around images (or hold shift)", ariaPressed: "false"});
  const home = make("button", {textContent: "whole map"}), clear = make("button", {textContent: "clear"});
  const slider = make("input", {type: "range", min: 0, max: last, step: 1, value: at.epoch, ariaLabel: "epoch"}), epochText = make("output", {});
  const trails = make("input", {type: "checkbox", checked: last > 0});
  const time = make("div", {className: "v-row", hidden: !last}, make("label", {}, "epoch ", slider), epochText, make("label", {}, trails, " trails of the proxies"));
  const toggle = (text, on, act) => { const box = make("input", {type: "checkbox", checked: on}); box.onchange = () => act(box.checked); return make("label", {}, box, " " + text); };
  const kinds = make("div", {className: "v-row"}, ...data.splits.map((s, i) => toggle(s, true, on => { on ? hidden.delete(i) : hidden.add(i); grid = null; draw(); })),
    ...Object.keys(stars[last]).map(s => toggle(shapes[s], shown.has(s), on => { on ? shown.add(s) : shown.delete(s); draw(); })));
  const base = make("canvas", {}), over = make("canvas", {tabIndex: 0, role: "application", ariaLabel: data.alt + " Arrow keys move, plus and minus zoom, Escape clears the selection."});
  const tip = make("div", {className: "v-tip", hidden: true}), tipPicture = make("canvas", {width: 96, height: 96}), tipText = make("div"); tip.append(tipPicture, tipText);
  const map = make("div", {className: "v-map"}, base, over, tip), key = make("div", {className: "v-row v-key"});
  const status = make("div", {className: "v-status", role: "status"}), panel = make("div", {className: "v-panel"}), list = make("div", {className: "v-list"});
  const listTitle = make("h4", {});
  const root = make("div", {className: "vptsp-explorer"}, make("div", {className: "v-row"}, make("label", {}, "colour by ", colour), search, names, worstButton, lassoButton, clear, home), time,
    make("div", {className: "v-main"}, make("div", {}, map, kinds, key), make("div", {className: "v-side"}, status, panel, listTitle, list)));
  el.append(root);

  // colours of the points
  let ink = new Uint32Array(n), faint = new Uint32Array(n), current = columns[0];
  function paint() {
    current = columns.find(c => c.name === model.get("colour")) || columns[0]; colour.value = current.name;
    const span = (current.high - current.low) || 1;
    for (let i = 0; i < n; i++) {
      const v = current.values[i], c = current.names ? (v < 0 ? [150, 150, 150] : rgb(colours[v % colours.length])) : Number.isNaN(v) ? [150, 150, 150] : scale((v - current.low)/span);
      ink[i] = word(c); faint[i] = word(c, 50);
    }
    key.replaceChildren();
    if (!current.names) key.append(make("span", {textContent: current.low.toPrecision(3)}), make("span", {className: "v-ramp"}), make("span", {textContent: current.high.toPrecision(3) + " (grey: none)"}));
    else if (current.names.length <= 12) key.append(...current.names.map((name, v) => {
      const b = make("button", {title: "select these"}, make("i", {style: `background:${colours[v % colours.length]}`}), name);
      b.onclick = () => choose(indices(i => current.values[i] === v)); return b; }));
    else key.append(`${current.names.length.toLocaleString()} values, the ${colours.length} colours come again`);
    draw();
  }
  const indices = test => { const out = []; for (let i = 0; i < n; i++) if (test(i)) out.push(i); return out; };

  // the map
  const ratio = window.devicePixelRatio || 1;
  let width = 0, height = 0, image = null;
  function resize() {
    const w = Math.max(200, Math.round(map.clientWidth*ratio)), h = Math.max(200, Math.round(map.clientHeight*ratio));
    if (w === width && h === height) return;
    for (const c of [base, over]) { c.width = w; c.height = h; }
    width = w; height = h; image = base.getContext("2d").createImageData(w, h); grid = null; draw();
  }
  const span = () => Math.min(width, height)*.94*at.zoom;
  const px = u => width/2 + (u - .5)*span() + at.x*ratio, py = v => height/2 - (v - .5)*span() + at.y*ratio;
  function draw() { if (!dirty) requestAnimationFrame(paintMap); dirty = true; }
  function paintMap() {
    dirty = false; if (!width) return;
    const pixels = new Uint32Array(image.data.buffer), p = at.places, any = picked.length > 0, s = span(), ox = width/2 - .5*s + at.x*ratio, oy = height/2 + .5*s + at.y*ratio;
    const small = Math.max(1, Math.min(5, (n > 20000 ? 1.1 : n > 4000 ? 1.7 : 2.6)*Math.sqrt(Math.min(at.zoom, 6))))*ratio, large = small + 1.2*ratio, reach = Math.ceil(large);
    const disc = r => { const out = []; for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) if (x*x + y*y <= r*r + .2) out.push(y*width + x); return out; };
    pixels.fill(0);
    for (let pass = any ? 0 : 1; pass < 2; pass++) for (let i = 0, dot = disc(any && pass ? large : small); i < n; i++) {      // the chosen last, on top
      if (any && chosen[i] !== pass || hidden.has(split[i])) continue;
      const x = Math.round(ox + p[2*i]*s), y = Math.round(oy - p[2*i + 1]*s);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      const c = any && !pass ? faint[i] : ink[i], m = y*width + x;
      for (let d = 0; d < dot.length; d++) pixels[m + dot[d]] = c;
    }
    base.getContext("2d").putImageData(image, 0, 0); paintOver();
  }
  const starAt = (kind, c) => { const f = Math.floor(at.moving), t = at.moving - f, a = stars[f][kind], b = stars[Math.min(f + 1, last)][kind]; return [a[2*c] + t*(b[2*c] - a[2*c]), a[2*c + 1] + t*(b[2*c + 1] - a[2*c + 1])]; };
  function star(g, x, y, r, points) { g.beginPath(); for (let i = 0; i < 2*points; i++) { const q = i % 2 ? r*.42 : r, w = Math.PI*i/points - Math.PI/2; g.lineTo(x + q*Math.cos(w), y + q*Math.sin(w)); } g.closePath(); }
  function paintOver() {
    const g = over.getContext("2d"), foreground = getComputedStyle(root).color, background = getComputedStyle(root).getPropertyValue("--v-back").trim() || "#fff";
    g.clearRect(0, 0, width, height);
    const mine = new Set(picked.map(i => label[i])); if (at.hover >= 0) mine.add(label[at.hover]);
    const classes = data.proxied, few = classes.length <= 40;
    for (const [c, cls] of classes.entries()) {
      const focus = mine.has(cls), fill = current.name === "class" ? colours[cls % colours.length] : foreground;
      if (picked.length && !focus) continue;
      const r = (focus || few ? 8 : 4.5)*ratio;
      if (trails.checked && last && shown.size) {
        g.beginPath(); g.strokeStyle = fill; g.globalAlpha = focus || few ? .9 : .25; g.lineWidth = (focus ? 1.6 : 1)*ratio;
        const kind = [...shown][0];
        for (let e = 0; e <= Math.floor(at.moving); e++) g.lineTo(px(stars[e][kind][2*c]), py(stars[e][kind][2*c + 1]));
        g.lineTo(...(([u, v]) => [px(u), py(v)])(starAt(kind, c))); g.stroke(); g.globalAlpha = 1;
      }
      for (const kind of shown) {
        const [u, v] = starAt(kind, c), x = px(u), y = py(v);
        g.lineWidth = 1*ratio; g.globalAlpha = focus || few ? 1 : .75;
        if (kind === "bias") { g.strokeStyle = fill; g.lineWidth = 2*ratio; g.beginPath(); g.moveTo(x - r*.7, y); g.lineTo(x + r*.7, y); g.moveTo(x, y - r*.7); g.lineTo(x, y + r*.7); g.stroke(); }
        else { star(g, x, y, r, 5); g.fillStyle = kind === "proxy" ? fill : background; g.fill(); g.strokeStyle = kind === "proxy" ? background : fill; g.stroke(); }
        g.globalAlpha = 1;
      }
    }
    if (at.hover >= 0) { g.strokeStyle = foreground; g.lineWidth = 2*ratio; g.beginPath(); g.arc(px(at.places[2*at.hover]), py(at.places[2*at.hover + 1]), 7*ratio, 0, 7); g.stroke(); }
    if (at.lasso) { g.strokeStyle = foreground; g.setLineDash([5*ratio, 4*ratio]); g.beginPath(); for (const [x, y] of at.lasso) g.lineTo(x*ratio, y*ratio); g.closePath(); g.stroke(); g.setLineDash([]); }
  }

  // which image is under the pointer: points by cells of the screen
  const cell = 16;
  function index() {
    const w = Math.ceil(width/cell), h = Math.ceil(height/cell), count = new Int32Array(w*h + 1), where = new Int32Array(n).fill(-1), s = span();
    for (let i = 0; i < n; i++) {
      const x = px(at.places[2*i]), y = py(at.places[2*i + 1]);
      if (x >= 0 && y >= 0 && x < width && y < height && !hidden.has(split[i])) count[(where[i] = Math.floor(y/cell)*w + Math.floor(x/cell)) + 1]++;
    }
    for (let c = 0; c < w*h; c++) count[c + 1] += count[c];
    const items = new Int32Array(count[w*h]), next = count.slice();
    for (let i = 0; i < n; i++) if (where[i] >= 0) items[next[where[i]]++] = i;
    grid = {w, h, count, items};
  }
  function under(x, y) {
    if (!grid) index();
    let best = -1, least = (10*ratio)**2; x *= ratio; y *= ratio;
    const cx = Math.floor(x/cell), cy = Math.floor(y/cell);
    for (let r = Math.max(0, cy - 1); r <= Math.min(grid.h - 1, cy + 1); r++) for (let c = Math.max(0, cx - 1); c <= Math.min(grid.w - 1, cx + 1); c++)
      for (let j = grid.count[r*grid.w + c]; j < grid.count[r*grid.w + c + 1]; j++) {
        const i = grid.items[j], d = (px(at.places[2*i]) - x)**2 + (py(at.places[2*i + 1]) - y)**2;
        if (d < least || d === least && i > best) { least = d; best = i; }
      }
    return best;
  }
  const picture = (canvas, i) => { const g = canvas.getContext("2d"); g.imageSmoothingQuality = "high"; g.drawImage(sheet, i % data.across*side + .5, Math.floor(i/data.across)*side + .5, side - 1, side - 1, 0, 0, canvas.width, canvas.height); };     // half a pixel in, or the next tile shows
  const about = i => `${data.classes[label[i]].name} (${data.splits[split[i]]})`;
  function hover(i, x, y) {
    if (i !== at.hover) { at.hover = i; paintOver(); if (i >= 0) { tipPicture.getContext("2d").clearRect(0, 0, 96, 96); picture(tipPicture, i); const v = current.values[i];
      tipText.textContent = about(i) + (current.name === "class" || current.name === "split" ? "" : `, ${current.name}: ${current.names ? current.names[v] ?? "none" : Number.isNaN(v) ? "none" : v.toFixed(2)}`); } }
    tip.hidden = i < 0;
    if (i >= 0) { tip.style.left = Math.min(x + 14, map.clientWidth - 130) + "px"; tip.style.top = (y > map.clientHeight - 150 ? y - 145 : y + 14) + "px"; }
  }

  // choosing
  function choose(ids, tell = true) {
    picked = ids.filter(i => i >= 0 && i < n); chosen = new Uint8Array(n); for (const i of picked) chosen[i] = 1;
    if (tell) { model.set("selected", new DataView(Int32Array.from(picked).buffer)); model.save_changes(); }
    show(); draw();
  }
  const rate = c => c.rate === null ? "–" : (100*c.rate).toFixed(0) + "%";
  function tile(i, mark) {
    const c = make("canvas", {width: 2*data.tile, height: 2*data.tile}), b = make("button", {className: "v-tile " + (mark || ""), title: about(i) + (mark ? ", " + mark : ""), ariaLabel: about(i) + (mark ? ", " + mark : "")}, c);
    sheet.complete && sheet.naturalWidth ? picture(c, i) : sheet.addEventListener("load", () => picture(c, i)); b.onclick = () => choose([i]); return b;
  }
  function show() {
    const m = picked.length, most = 120;
    status.textContent = m === 0 ? "Point at an image to see it, click to see its neighbours, draw a lasso around many." : m === 1 ? about(picked[0]) : `${m.toLocaleString()} images of ${new Set(picked.map(i => label[i])).size.toLocaleString()} classes` + (m > most ? `, the first ${most} below` : "");
    panel.replaceChildren();
    if (m && m <= 24) for (const i of picked.slice(0, 24)) {
      const found = [...near.subarray(i*k, i*k + k)].filter(j => j < n);
      panel.append(make("div", {className: "v-line"}, tile(i), make("span", {textContent: found.length ? "→" : ""}), ...found.map(j => tile(j, label[j] === label[i] ? "right" : "wrong"))));
    } else panel.append(...picked.slice(0, most).map(i => tile(i)));
    const all = data.classes.map((c, i) => i), some = new Set(picked.map(i => label[i])), rows = m ? all.filter(c => some.has(c)) : all;
    rows.sort((a, b) => (data.classes[a].rate ?? 2) - (data.classes[b].rate ?? 2));
    listTitle.textContent = m ? "R@1 of the classes chosen, and their images" : "R@1 of the classes, lowest first, and their images";
    list.replaceChildren(...rows.slice(0, 200).map(c => {
      const d = data.classes[c], b = make("button", {className: "v-class"}, make("span", {textContent: d.name}), make("span", {className: "v-bar"}, make("i", {style: `width:${100*(d.rate ?? 0)}%`})), make("span", {textContent: `${rate(d)} of ${d.images}`}));
      b.onclick = () => choose(indices(i => label[i] === c)); return b; }), ...rows.length > 200 ? [make("p", {textContent: `and ${(rows.length - 200).toLocaleString()} more: search for them`})] : []);
  }
  function inside(points) {
    return indices(i => {
      if (hidden.has(split[i])) return false;
      const x = px(at.places[2*i])/ratio, y = py(at.places[2*i + 1])/ratio; let odd = false;
      for (let a = 0, b = points.length - 1; a < points.length; b = a++) if ((points[a][1] > y) !== (points[b][1] > y) && x < (points[b][0] - points[a][0])*(y - points[a][1])/(points[b][1] - points[a][1]) + points[a][0]) odd = !odd;
      return odd; });
  }
  function find(text) {
    const t = text.trim().toLowerCase(); if (!t) return choose([]);
    const exact = data.classes.findIndex(c => c.name.toLowerCase() === t), hit = data.classes.map((c, i) => exact >= 0 ? i === exact : c.name.toLowerCase().includes(t));
    const ids = indices(i => hit[label[i]]); choose(ids); if (!ids.length) status.textContent = `no class has "${text}" in its name`;
  }

  // time
  function epoch(target, slow = true) {
    const from = at.moving, a = new Float32Array(at.places), b = xy[target], start = performance.now(), lasts = slow && !matchMedia("(prefers-reduced-motion: reduce)").matches ? 500 : 0;
    at.epoch = target; slider.value = target; epochText.textContent = data.epochs[target];
    const run = at.run = {};
    (function step(now) {
      if (at.run !== run) return;
      const t = lasts ? Math.min(1, Math.max(0, (now - start)/lasts)) : 1, s = t*t*(3 - 2*t);
      for (let i = 0; i < 2*n; i++) at.places[i] = a[i] + s*(b[i] - a[i]);
      at.moving = from + s*(target - from); grid = null; paintMap();
      if (t < 1) requestAnimationFrame(step);
    })(start);
  }

  // hands
  const place = e => { const r = over.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  function zoom(f, x = map.clientWidth/2, y = map.clientHeight/2) {
    const z = Math.min(Math.max(at.zoom*f, .5), 200); f = z/at.zoom; at.zoom = z;
    const cx = x - map.clientWidth/2, cy = y - map.clientHeight/2; at.x = cx - (cx - at.x)*f; at.y = cy - (cy - at.y)*f; grid = null; draw();
  }
  let held = null;
  over.onpointerdown = e => { held = {from: place(e), x: at.x, y: at.y, moved: false, lasso: e.shiftKey || lassoButton.ariaPressed === "true"}; over.setPointerCapture(e.pointerId); if (held.lasso) at.lasso = [held.from]; hover(-1); };
  over.onpointermove = e => {
    const [x, y] = place(e);
    if (!held) return hover(under(x, y), x, y);
    if (Math.hypot(x - held.from[0], y - held.from[1]) > 4) held.moved = true;
    if (held.lasso) { at.lasso.push([x, y]); paintOver(); } else if (held.moved) { at.x = held.x + x - held.from[0]; at.y = held.y + y - held.from[1]; grid = null; draw(); }
  };
  over.onpointerup = e => {
    const h = held, line = at.lasso; held = at.lasso = null; if (!h) return;
    if (h.lasso && h.moved) choose(inside(line)); else if (!h.moved) { const i = under(...h.from); choose(i < 0 ? [] : [i]); } else paintOver();
  };
  over.onpointerleave = () => { if (!held) hover(-1); };
  over.ondblclick = () => home.onclick();
  over.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY*.0015), ...place(e)); }, {passive: false});
  over.onkeydown = e => {
    const move = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[e.key];
    if (move) { at.x += move[0]; at.y += move[1]; grid = null; draw(); } else if (e.key === "+" || e.key === "=") zoom(1.3); else if (e.key === "-") zoom(1/1.3); else if (e.key === "Escape") choose([]); else return;
    e.preventDefault(); e.stopPropagation();
  };
  home.onclick = () => { at.zoom = 1; at.x = at.y = 0; grid = null; draw(); };
  clear.onclick = () => { search.value = ""; choose([]); };
  lassoButton.onclick = () => { lassoButton.ariaPressed = String(lassoButton.ariaPressed !== "true"); over.style.cursor = lassoButton.ariaPressed === "true" ? "crosshair" : "grab"; };
  worstButton.onclick = () => choose([...worst]);
  search.onchange = () => find(search.value);
  search.onkeydown = e => e.stopPropagation();                                                                            // a notebook's shortcuts
  colour.onchange = () => { model.set("colour", colour.value); model.save_changes(); };
  slider.oninput = () => { model.set("epoch", Number(slider.value)); model.save_changes(); };
  trails.onchange = paintOver;
  model.on("change:colour", paint);
  model.on("change:epoch", () => { const e = model.get("epoch"); if (e !== at.epoch) epoch(e); });
  model.on("change:selected", () => { const v = [...array(Int32Array, model.get("selected"))]; if (v.length !== picked.length || v.some((i, j) => i !== picked[j])) choose(v, false); });
  root.vptsp = {at, screen: i => { const r = over.getBoundingClientRect(); return [r.left + px(at.places[2*i])/ratio, r.top + py(at.places[2*i + 1])/ratio]; }, picked: () => picked, frame: () => { const t = performance.now(); paintMap(); return performance.now() - t; }};

  at.moving = at.epoch; epochText.textContent = data.epochs[at.epoch]; over.style.cursor = "grab";
  const observer = new ResizeObserver(resize); observer.observe(map); dirty = false; resize(); paint(); choose([...array(Int32Array, model.get("selected"))], false);
  sheet.addEventListener("load", () => { root.dataset.ready = "true"; });
  return () => { observer.disconnect(); URL.revokeObjectURL(sheet.src); };
}

export default {render};
