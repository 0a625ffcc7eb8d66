"use strict";

const report = JSON.parse(document.querySelector("#data").textContent);
const find = (id) => document.getElementById(id);

// Okabe and Ito, "Color Universal Design", 2008. The second is the text's.
const OKABE_ITO = [
  ["#e69f00", "#000"],
  ["#56b4e9", "#000"],
  ["#009e73", "#000"],
  ["#f0e442", "#000"],
  ["#0072b2", "#fff"],
  ["#d55e00", "#000"],
  ["#cc79a7", "#000"],
  ["light-dark(#000, #fff)", "light-dark(#fff, #000)"],
];

function coloursOf(expert) {
  const count = report.num_experts;
  if (count <= OKABE_ITO.length) return OKABE_ITO[expert];
  // Neighbours on the wheel of hues also differ in lightness.
  const lightness = expert % 2 ? 0.88 : 0.72;
  return [`oklch(${lightness} 0.13 ${(360 * expert) / count})`, "#000"];
}

/** Makes an element; `children` are elements or strings. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Gives an element the colours of an expert; below 0 it takes them away. */
function paint(element, expert) {
  element.classList.toggle("expert", expert >= 0);
  if (expert < 0) return element;
  const [background, text] = coloursOf(expert);
  element.style.setProperty("--expert", background);
  element.style.setProperty("--on-expert", text);
  return element;
}

function draw(tag, attributes, text = "") {
  const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    shape.setAttribute(name, value);
  }
  shape.textContent = text;
  return shape;
}

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** Draws shares from 0 to `top` as lines over equally spaced places. */
function drawLines(container, series, label, firstPlace, top = 1) {
  // As wide as there is room, so that the text keeps its size.
  const width = Math.min(container.clientWidth || 640, 640);
  const [height, left, foot] = [200, 40, 34];
  const svg = draw("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `${series.map((each) => each.name).join(", ")} by ${label}`,
  });
  const count = series[0].values.length;
  const x = (i) => left + ((width - left - 8) * (i + 0.5)) / count;
  const y = (v) => 8 + (height - foot - 8) * (1 - v / top);
  for (const tick of [0, top / 2, top]) {
    svg.append(
      draw("line", { class: "axis", x1: left, x2: width, y1: y(tick), y2: y(tick) }),
      draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" },
        `${Math.round(1000 * tick) / 10}%`),
    );
  }
  const step = Math.ceil(count / (width / 40));
  for (let i = 0; i < count; i += step) {
    svg.append(draw("text", { x: x(i), y: height - 18, "text-anchor": "middle" },
      firstPlace + i));
  }
  svg.append(draw("text", { x: (left + width) / 2, y: height - 2,
    "text-anchor": "middle" }, label));
  const keys = make("p");
  for (const { name, values, colour, dashed } of series) {
    const points = values.map((v, i) => `${x(i)},${y(v)}`).join(" ");
    const line = draw("polyline", { points, class: `series${dashed ? " dashed" : ""}` });
    const shapes = [line];
    if (count <= 32) {
      values.forEach((v, i) => shapes.push(
        draw("circle", { class: "dot", cx: x(i), cy: y(v), r: 3.5 })));
    }
    for (const each of shapes) each.style.setProperty("--series", colour);
    svg.append(...shapes);
    const key = make("span", { className: "key" }, name);
    key.style.setProperty("--series", colour);
    keys.append(key);
  }
  container.replaceChildren(keys, svg);
}

function makeTable(table, head, rows) {
  table.replaceChildren(
    make("thead", {}, make("tr", {},
      ...head.map((each) => make("th", { scope: "col" }, each)))),
    make("tbody", {}, ...rows.map(([first, ...cells]) =>
      make("tr", {}, make("th", { scope: "row" }, first),
        ...cells.map((cell) => make("td", {}, cell))))),
  );
}

const blue = "light-dark(#0072b2, #56b4e9)";
const orange = "light-dark(#b35000, #e69f00)";
const green = "light-dark(#007a58, #2ec99b)";
const quiet = "var(--quiet)";

function showLayers() {
  const { information, agreement } = report;
  const series = [
    { name: "first choices that the token id explains", colour: blue,
      values: information.explained },
    { name: "the layer's most frequent expert", colour: quiet, dashed: true,
      values: information.baseline },
  ];
  const columns = [
    ["Explained", information.explained, percent],
    ["Baseline", information.baseline, percent],
    ["Information, nats", information.mutual_information, (v) => v.toFixed(3)],
    ["Entropy, nats", information.expert_entropy, (v) => v.toFixed(3)],
    ["Effective experts", report.effective_experts, (v) => v.toFixed(2)],
    ["Idle experts", report.dead_experts, (v) => v.join(", ") || "none"],
    ["Largest share", report.load, (v) => percent(Math.max(...v))],
  ];
  if (agreement) {
    series.push({ name: "same first choice in the other checkpoint",
      colour: orange, values: agreement.first });
    columns.push(["Same first choice", agreement.first, percent],
      ["Jaccard of choices", agreement.jaccard, percent]);
  }
  drawLines(find("explained"), series, "sparse layer", 0);
  makeTable(find("layers"), ["Layer", ...columns.map(([name]) => name)],
    report.layers.map((name, i) =>
      [`${i}: ${name}`, ...columns.map(([, values, write]) => write(values[i]))]));
}

function showDrops() {
  if (report.capacity_factor) {
    find("capacity").textContent = `at a capacity factor of ${report.capacity_factor}`;
  }
  const colours = [blue, orange, green, quiet];
  const largest = Math.max(...report.dropped.flat());
  if (largest === 0) {
    find("drops").replaceChildren(make("p", { className: "hint" },
      "None is dropped: there is no capacity, or enough of it."));
    return;
  }
  const layers = report.dropped.map((values, i) => ({ values, i }));
  // Four lines can be told apart: the first, the last, and two between.
  const last = layers.length - 1;
  const shown = last < 4 ? layers : [0, 1, 2, 3].map(
    (i) => layers[Math.round((i * last) / 3)]);
  drawLines(find("drops"), shown.map(({ values, i }, n) => ({
    values, name: `layer ${i}`, colour: colours[n], dashed: n === 3,
  })), "position in the window", 0, Math.min(1, Math.ceil(largest * 10) / 10));
}

function visible(label) {
  const names = { "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d" };
  const shown = label.replace(/[\n\t\r]/g, (each) => names[each]);
  return shown.replaceAll(" ", "\u2423");
}

let chosen = 0;

function choose(index) {
  const spans = find("map").children;
  if (!spans.length) return;
  spans[chosen]?.classList.remove("chosen");
  chosen = Math.min(Math.max(index, 0), spans.length - 1);
  spans[chosen].classList.add("chosen");
  const { tokens, experts } = report.token_maps[find("text").value];
  find("token").replaceChildren(
    make("code", {}, visible(report.labels[tokens[chosen]])), "first choices, layer by layer: ",
    ...experts.map((each) => paint(make("span", { className: "chip" },
      each[chosen] < 0 ? "\u2013" : String(each[chosen])), each[chosen])));
}

function showMap() {
  const { tokens, experts } = report.token_maps[find("text").value];
  const layer = experts[find("layer").value];
  find("map").replaceChildren(...tokens.map((token, i) => {
    const label = report.labels[token];
    const names = [
      ...(label.includes("\n") ? ["newline"] : []),
      ...(i && i % report.window === 0 ? ["window"] : []),
    ];
    return paint(make("span", { className: names.join(" ") }, label), layer[i]);
  }));
  find("legend").replaceChildren(...Array.from({ length: report.num_experts },
    (_, expert) => paint(make("span", { className: "chip" }, String(expert)), expert)));
}

function showLoad() {
  const layer = find("layer").value;
  const loads = report.load_by_text.map((each) => each[layer]);
  const largest = Math.max(...loads.flat(), 1e-9);
  find("load").replaceChildren(...loads.map((load, i) => {
    const bars = make("div", { className: "bars", role: "img",
      ariaLabel: load.map((v, e) => `expert ${e}: ${percent(v)}`).join(", ") });
    bars.style.setProperty("--balanced", Math.min(1 / load.length / largest, 1));
    bars.append(...load.map((share, expert) => {
      const bar = paint(make("span"), expert);
      bar.style.setProperty("--share", share / largest);
      return make("span", { title: `expert ${expert}: ${percent(share)}` }, bar);
    }));
    return make("div", {}, make("h3", {},
      `${report.texts[i]}: most to expert ${load.indexOf(Math.max(...load))}, `,
      percent(Math.max(...load))), bars);
  }));
}

function showTokens() {
  const lists = report.top_tokens[find("order").value][find("layer").value];
  makeTable(find("tokens"), ["Expert", "Tokens, with their lift and count"],
    lists.map((list, expert) => {
      const cell = make("span", {}, ...list.map(([token, count, lift]) =>
        make("code", { title: `lift ${lift.toFixed(2)}, ${count} times` },
          `${visible(report.labels[token])} \u00d7${lift.toFixed(1)} (${count})`)));
      return [paint(make("span", { className: "chip" }, String(expert)), expert), cell];
    }));
}

function fill(select, names) {
  select.replaceChildren(...names.map((name, value) => make("option", { value }, name)));
}

fill(find("layer"), report.layers.map((name, i) => `${i}: ${name}`));
fill(find("text"), report.texts);
find("facts").textContent = `${report.tokens.toLocaleString("en")} tokens of `
  + `${report.texts.join(", ")} in windows of ${report.window}; `
  + `${report.num_experts} experts, ${report.top_k} per token.`;
const charts = [showLayers, showDrops];
for (const show of charts) show();
addEventListener("resize", () => charts.forEach((show) => show()));
for (const show of [showMap, showLoad, showTokens]) show();
find("layer").addEventListener("change", () => {
  for (const show of [showMap, showLoad, showTokens]) show();
});
find("text").addEventListener("change", () => {
  chosen = 0;
  showMap();
});
find("order").addEventListener("change", showTokens);
for (const type of ["pointerover", "click"]) {
  find("map").addEventListener(type, ({ target }) => {
    const index = [...find("map").children].indexOf(target);
    if (index >= 0) choose(index);
  });
}
find("map").addEventListener("focus", () => choose(chosen));
find("map").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  choose(chosen + steps[event.key]);
  find("map").children[chosen].scrollIntoView({ block: "nearest" });
});
find("main").ariaBusy = "false";
