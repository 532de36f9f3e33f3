const kindNames = {proxy: "proxy", semantic: "semantic proxy (memory)", bias: "bias"}, dashes = {proxy: "", semantic: "6 3", bias: "2 3"}, lines = {proxy: "#0072b2", semantic: "#d55e00", bias: "#009e73"};
const array = (Type, v) => new Type(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength));
function make(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) k in el ? el[k] = v : el.setAttribute(k, v);
  if (["button", "canvas", "input", "select"].includes(tag)) el.dataset.lmSuppressShortcuts = "true";             // JupyterLab would take their keys
  el.append(...children); return el;
}
function svg(tag, attributes = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) el.setAttribute(k, v);
  el.append(...children); return el;
}
const text = (x, y, words, more = {}) => svg("text", {x, y, "font-size": 11, fill: "currentColor", ...more}, words);

function render({model, el}) {
  const data = model.get("payload"), classes = data.classes, side = data.side, columns = data.columns;
  const sheet = new Image(), url = URL.createObjectURL(new Blob([array(Uint8Array, data.sprite)], {type: "image/webp"})); sheet.src = url;
  const root = make("div", {className: "vptsp-inspector"}); el.append(root);
  let by = columns.indexOf("nearest rival"), down = true, filter = "";

  function tile(i, mark, note) {
    const c = make("canvas", {width: 96, height: 96}), name = data.labels[i] < 0 ? "" : data.names[data.labels[i]];
    const draw = () => c.getContext("2d").drawImage(sheet, i % data.across*side + .5, Math.floor(i/data.across)*side + .5, side - 1, side - 1, 0, 0, 96, 96);
    sheet.complete && sheet.naturalWidth ? draw() : sheet.addEventListener("load", draw);
    c.setAttribute("role", "img"); c.setAttribute("aria-label", name + (mark ? ", " + mark : ""));
    return make("figure", {className: "v-tile " + (mark || ""), title: name + (mark ? ", " + mark : "")}, c, ...note ? [make("figcaption", {textContent: note})] : []);
  }
  function chart(title, series, xs, unit) {                                                          // series: {name: [y ..]}
    const w = 330, h = 170, l = 40, b = 28, top = 20, all = Object.values(series).flat().filter(Number.isFinite), low = Math.min(...all), high = Math.max(...all, low + 1e-6);
    const x = i => l + (w - l - 10)*(xs.length > 1 ? i/(xs.length - 1) : .5), y = v => h - b - (h - b - top)*(v - low)/(high - low || 1);
    const g = svg("svg", {viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img", "aria-label": title}, text(l, 12, title, {"font-weight": 600}));
    for (const v of [low, high]) g.append(svg("line", {x1: l, x2: w - 10, y1: y(v), y2: y(v), stroke: "currentColor", opacity: .25}), text(l - 4, y(v) + 4, Math.abs(v).toFixed(2), {"text-anchor": "end"}));
    xs.forEach((v, i) => { if (xs.length < 13 || i % Math.ceil(xs.length/12) === 0) g.append(text(x(i), h - 14, v, {"text-anchor": "middle"})); });
    g.append(text((l + w)/2, h - 2, unit, {"text-anchor": "middle"}));
    for (const [name, ys] of Object.entries(series)) {
      g.append(svg("path", {d: ys.map((v, i) => (i ? "L" : "M") + x(i) + " " + y(v)).join(""), fill: "none", stroke: lines[name] || "#0072b2", "stroke-width": 2, "stroke-dasharray": dashes[name] || ""}));
      ys.forEach((v, i) => g.append(svg("circle", {cx: x(i), cy: y(v), r: 2.6, fill: lines[name] || "#0072b2"})));
    }
    return g;
  }
  function key() {
    return make("div", {className: "v-key"}, ...data.kinds.map(k => { const s = svg("svg", {width: 30, height: 10, "aria-hidden": "true"}, svg("line", {x1: 0, x2: 30, y1: 5, y2: 5, stroke: lines[k], "stroke-width": 2, "stroke-dasharray": dashes[k]})); return make("span", {}, s, " " + kindNames[k]); }));
  }
  const go = c => { model.set("shown", c); model.save_changes(); };
  function link(c) { const b = make("button", {className: "v-link", textContent: classes[c].name}); b.onclick = () => go(c); return b; }

  function page(c) {
    const d = classes[c], back = make("button", {textContent: "all classes"}); back.onclick = () => go(-1);
    const previous = make("button", {textContent: "previous", disabled: c === 0}), next = make("button", {textContent: "next", disabled: c === classes.length - 1});
    previous.onclick = () => go(c - 1); next.onclick = () => go(c + 1);
    root.replaceChildren(make("div", {className: "v-row"}, back, previous, next), make("h3", {textContent: d.name}),
      make("p", {textContent: columns.slice(1).map((k, i) => `${k}: ${format(d.row[i + 1], i + 1)}`).join("; ")}),
      make("h4", {textContent: "its images" + (d.more ? ` (${d.images.length} of ${d.images.length + d.more})` : "")}), make("div", {className: "v-tiles"}, ...d.images.map(i => tile(i))),
      ...data.kinds.flatMap(k => [make("h4", {textContent: "training images nearest to its " + kindNames[k]}), make("div", {className: "v-tiles"}, ...d.near[k].map(([i, s]) => tile(i, data.labels[i] === d.number ? "right" : "wrong", s.toFixed(2))))]),
      make("h4", {textContent: "confused with"}), make("div", {className: "v-two"},
        make("div", {}, make("p", {textContent: "nearest other proxies (cosine)"}), make("ul", {}, ...d.rivals.map(([r, s]) => make("li", {}, link(r), ` ${s.toFixed(2)}`)))),
        make("div", {}, make("p", {textContent: "its images' nearest image shows another class"}), d.taken.length ? make("ul", {}, ...d.taken.map(([name, m]) => make("li", {textContent: `${name}: ${m}`}))) : make("p", {textContent: "never"}))),
      make("div", {className: "v-two"}, ...data.epochs.length > 1 ? [make("div", {}, chart("drift: cosine distance from the start", d.drift, data.epochs, "epoch"), key())] : [],
        make("div", {}, chart("cosine to the mean of its images", d.own, data.epochs, "epoch"), key()), ...d.norms.length ? [chart("mean norm of its prompts", {proxy: d.norms}, data.blocks, "block")] : []));
  }
  const format = (v, i) => v === null ? "–" : typeof v === "number" && i !== 1 ? v.toFixed(3) : String(v);                     // column 1 counts images
  function table() {
    const order = classes.map((_, i) => i).filter(i => classes[i].name.toLowerCase().includes(filter)).sort((a, b) => {
      const x = classes[a].row[by], y = classes[b].row[by], s = x === null ? 1 : y === null ? -1 : typeof x === "string" ? x.localeCompare(y) : x - y; return down && x !== null && y !== null ? -s : s; });
    const search = make("input", {type: "search", placeholder: "search a class", ariaLabel: "search a class", value: filter});
    search.onchange = () => { filter = search.value.trim().toLowerCase(); table(); };
    const heads = columns.map((name, i) => { const b = make("button", {className: "v-link", textContent: name + (i === by ? down ? " ↓" : " ↑" : "")}); b.onclick = () => { down = i === by ? !down : i > 0; by = i; table(); };
      const th = make("th", {scope: "col"}, b); th.setAttribute("aria-sort", i !== by ? "none" : down ? "descending" : "ascending"); return th; });
    const rows = order.slice(0, 500).map(c => make("tr", {}, make("td", {}, link(c)), ...classes[c].row.slice(1).map((v, i) => make("td", {textContent: format(v, i + 1)}))));
    root.replaceChildren(make("div", {className: "v-row"}, search, make("span", {textContent: `${order.length.toLocaleString()} classes` + (order.length > 500 ? ", the first 500 below" : "")})),
      make("div", {className: "v-scroll"}, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows))));
  }
  const show = () => { const c = model.get("shown"); c >= 0 ? page(c) : table(); };
  model.on("change:shown", show); show();
  sheet.addEventListener("load", () => { root.dataset.ready = "true"; });
  return () => URL.revokeObjectURL(url);
}

export default {render};
