// One image's attention. L layers, H heads, N tokens (0 is CLS), G patches along a side.
// The server sends all of it once; hovering, arrow keys and the controls repaint here, only a pick goes back.

const STRONGEST = 5;
const KEYS_REST_MS = 250; // a run of arrow keys is sent and read out once it rests

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".inspector");
  const view = (root.view ??= { root, hovered: null, sent: [] });
  view.send = (picked) => setTriggerValue("picked", picked);
  read(view, data);
  const shape = [...view.attn.shape, ...view.image.shape].join();
  if (shape !== view.shape) build(Object.assign(view, { shape, hovered: null }));
  follow(view, data.asked);
  paintScene(view, data.title);
  paint(view);
  return onRemoval(root, () => clearTimeout(view.resting));
}

// ---- data -----------------------------------------------------------------------------------------------

function read(view, data) {
  view.image = unpack(data.image);
  view.attn = unpack(data.attn);
  view.rowScales = unpack(data.rowScales);
  view.colours ??= unpackColours(data.palettes);
  Object.assign(view, { absoluteMax: data.absoluteMax, highest: data.highest });
  view.settings = settingsOf(data.key, { ...data.start, grid: true, direction: "row" });
  [view.numLayers, view.numHeads, view.numTokens] = view.attn.shape;
  view.gridSize = Math.round(Math.sqrt(view.numTokens - 1));
  view.uniform = 1 / view.numTokens;
  const heads = Array.from({ length: view.numHeads }, (_, head) => head);
  view.heads = view.numHeads > 1 ? [...heads, "mean", "max"] : heads;
}

// The pick that Python asks for counts when it is news, not when it is an echo of a pick that went out from here.
function follow(view, asked) {
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const news = !same(asked, view.asked);
  const echo = view.sent.findLastIndex((sent) => same(sent, asked));
  view.asked = asked;
  if (echo >= 0) view.sent.splice(0, echo + 1);
  else if (news) Object.assign(view, { picked: { ...asked }, sent: [] });
  view.picked ??= { ...asked };
  view.picked.layer = Math.min(view.picked.layer, view.numLayers - 1);
  view.picked.token = Math.min(view.picked.token, view.numTokens - 1);
  if (!view.heads.includes(view.picked.head)) view.picked.head = asked.head;
}

// N values of one head: the row of the token (what it looks at) or its column (who looks at it)
function headAttention(view, layer, head, token) {
  const N = view.numTokens;
  const start = (layer * view.numHeads + head) * N;
  const values = new Float32Array(N);
  for (let other = 0; other < N; other++) {
    const row = start + (view.settings.direction === "row" ? token : other);
    const column = view.settings.direction === "row" ? other : token;
    values[other] = (view.attn[row * N + column] / 255) * view.rowScales[row];
  }
  return values;
}

// The same for every column of the grid of maps: all heads, then their mean and max
function layerAttention(view, layer, token) {
  const heads = Array.from({ length: view.numHeads }, (_, head) => headAttention(view, layer, head, token));
  if (view.numHeads === 1) return heads;
  const mean = heads[0].map((_, i) => heads.reduce((sum, values) => sum + values[i], 0) / heads.length);
  const max = heads[0].map((_, i) => heads.reduce((most, values) => Math.max(most, values[i]), 0));
  return [...heads, mean, max];
}

// ---- words ----------------------------------------------------------------------------------------------

const tokenName = (token) => (token === 0 ? "CLS" : `p${token - 1}`);
const digits = (view, value) => (value === 0 ? "0" : value.toFixed(view.numTokens > 100 ? 4 : 3));
const number = (view, value) => (Number.isFinite(value) ? digits(view, value) : "–");
const times = (view, value) => `${(value / view.uniform).toFixed(1)}×`;
const headName = (head) => (typeof head === "number" ? `head ${head + 1}` : `${head} of all heads`);
const placeName = ({ layer, head }) => `layer ${layer + 1}, ${headName(head)}`;
const verb = (view) => (view.settings.direction === "row" ? "looks at" : "is looked at by");
const lookName = (view, token) => `${tokenName(token)} ${verb(view)}`;

// One sentence on how far from even the attention is.
function summary(view, values, strongest) {
  const share = strongest.reduce((sum, token) => sum + values[token], 0);
  if (view.picked.head === "max") return "The highest over all heads: these values do not add up to 100 %.";
  if (view.settings.direction === "row") {
    const hold = `The ${strongest.length} strongest patches hold ${percent(share)} of the attention`;
    return `${hold}; spread evenly they would hold ${percent(strongest.length * view.uniform)}.`;
  }
  const received = values.reduce((sum, value) => sum + value, 0);
  return `This token receives ${received.toFixed(2)} from all ${view.numTokens} tokens together; spread evenly it would be 1.00.`;
}

function strongestPatches(values) {
  const tokens = Array.from({ length: values.length - 1 }, (_, i) => i + 1);
  return tokens.sort((one, other) => values[other] - values[one]).slice(0, STRONGEST);
}

// ---- acts -----------------------------------------------------------------------------------------------

function pick(view, change, rest = 0) {
  Object.assign(view.picked, change);
  paint(view);
  clearTimeout(view.resting);
  view.resting = setTimeout(() => {
    const picked = { ...view.picked };
    view.sent.push(picked);
    readOut(view);
    view.send(picked);
  }, rest);
}

function readOut(view) {
  view.status.textContent = `${placeName(view.picked)}. ${view.words}`;
}

function hover(view, token) {
  if (token !== view.hovered) paint(Object.assign(view, { hovered: token }));
}

function tokenAt(view, event) {
  const box = view.picture.getBoundingClientRect();
  const G = view.gridSize;
  const cell = (share) => Math.max(0, Math.min(G - 1, Math.floor(share * G)));
  return 1 + cell((event.clientY - box.top) / box.height) * G + cell((event.clientX - box.left) / box.width);
}

function pictureKey(view, event) {
  const G = view.gridSize;
  const token = view.picked.token;
  const [row, column] = [Math.floor((token - 1) / G), (token - 1) % G];
  const inside = (place) => Math.max(0, Math.min(G - 1, place));
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const home = event.key === "Home" || event.key === "Escape";
  if (!(step || home) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  view.hovered = null;
  const next = home ? 0 : token === 0 ? 1 : 1 + inside(row + step[0]) * G + inside(column + step[1]);
  pick(view, { token: next }, KEYS_REST_MS);
}

// ---- building, once per shape of the data ---------------------------------------------------------------

function build(view) {
  view.legend = makeLegend();
  view.status = element("p", { class: "hidden-text", role: "status" });
  view.controls = element("div", { class: "controls" });
  const picture = buildPicture(view);
  const foot = element("div", { class: "scene-foot" }, view.legend.root, view.plain);
  const scene = element("div", { class: "scene" }, picture, foot);
  const heads = element("div", { class: "heads" }, element("div", { class: "heading" }, "Layer × head"), buildMaps(view));
  const parts = [scene, heads, buildPanel(view), view.controls, buildNumbers(view)];
  view.root.replaceChildren(element("div", { class: "board" }, ...parts), view.status);
}

function buildPicture(view) {
  const [height, width] = view.image.shape;
  const G = view.gridSize;
  const zoom = Math.max(1, Math.round(384 / width));
  view.scene = pixelCanvas(width, height);
  view.plain = pixelCanvas(width, height, "plain");
  view.overlay = pixelCanvas(G, G);
  view.lines = buildLines(view);
  view.picture = element(
    "div",
    {
      class: "stack picture",
      tabindex: 0,
      role: "application",
      onpointermove: (event) => hover(view, tokenAt(view, event)),
      onpointerleave: () => hover(view, null),
      onclick: (event) => pick(view, { token: tokenAt(view, event) }),
      onkeydown: (event) => pictureKey(view, event),
      onfocus: () => readOut(view),
    },
    view.scene,
    view.overlay,
    view.lines,
  );
  view.picture.style.cssText = `--side: ${width}px; --wide: ${width * zoom}px`;
  view.sceneTitle = element("span", { class: "scene-title" });
  return element("div", {}, element("div", { class: "scene-head" }, buildCls(view), view.sceneTitle), view.picture);
}

function buildCls(view) {
  view.clsSwatch = element("span", { class: "swatch" });
  view.clsValue = element("span", { class: "muted" });
  view.cls = element(
    "button",
    {
      class: "cls",
      type: "button",
      title: "The CLS token has no place in the image. Its square shows how much attention goes to it.",
      onpointerenter: () => hover(view, 0),
      onpointerleave: () => hover(view, null),
      onclick: () => pick(view, { token: 0 }),
    },
    view.clsSwatch,
    "CLS",
    view.clsValue,
  );
  return view.cls;
}

// Hairlines between the patches, and the outlines of the picked and of the hovered patch
function buildLines(view) {
  const G = view.gridSize;
  const lines = svgElement("svg", { viewBox: `0 0 ${G} ${G}`, class: "lines", "aria-hidden": "true" });
  const path = Array.from({ length: G - 1 }, (_, i) => `M${i + 1} 0V${G}M0 ${i + 1}H${G}`).join("");
  view.hairlines = svgElement("path", { d: path, class: "hairlines" });
  view.outlines = ["kept", "halo", "query"].map((name) => svgElement("rect", { width: 1, height: 1, class: name }));
  lines.append(view.hairlines, ...view.outlines);
  return lines;
}

function buildMaps(view) {
  const text = (head) => (typeof head === "number" ? `${head + 1}` : head);
  const names = view.heads.map((head) => element("span", { class: "column-name" }, text(head)));
  const grid = element("div", { class: "map-grid", role: "toolbar", "aria-label": "Layer and head" });
  roveFocus(grid, () => view.maps.map((map) => map.button), () => view.heads.length);
  grid.append(element("span"), ...names);
  grid.style.setProperty("--columns", view.heads.length);
  const longer = Math.max(view.heads.length, view.numLayers);
  grid.style.setProperty("--cell", `${longer > 6 ? 44 : longer > 2 ? 64 : longer > 1 ? 112 : 176}px`);
  view.maps = [];
  for (let layer = 0; layer < view.numLayers; layer++) {
    grid.append(element("span", { class: "row-name" }, `layer ${layer + 1}`));
    for (const head of view.heads) {
      const canvas = pixelCanvas(view.gridSize, view.gridSize);
      const label = placeName({ layer, head });
      const button = element("button", { type: "button", class: "map", "aria-label": label, title: label }, canvas);
      button.addEventListener("click", () => pick(view, { layer, head }));
      view.maps.push({ layer, head, canvas, button });
      grid.append(button);
    }
  }
  return grid;
}

function buildPanel(view) {
  view.looks = element("div", { class: "heading" });
  view.place = element("p", { class: "muted place" });
  view.sentence = element("p", { class: "sentence" });
  view.between = element("p", { class: "muted between" });
  view.entries = Array.from({ length: Math.min(STRONGEST, view.numTokens - 1) + 1 }, () => {
    const [swatch, name, value, ratio] = [element("span", { class: "swatch" }), ...[1, 2, 3].map(() => element("span"))];
    return { swatch, name, value, ratio, root: element("li", {}, swatch, name, value, ratio) };
  });
  const list = element("ul", { class: "entries" }, ...view.entries.map((entry) => entry.root));
  return element("div", { class: "panel" }, view.looks, view.place, list, view.sentence, view.between);
}

function buildNumbers(view) {
  const G = view.gridSize;
  view.numbersCaption = element("caption");
  view.cells = Array.from({ length: G * G }, () => element("td"));
  const rows = Array.from({ length: G }, (_, row) => {
    const name = element("th", { scope: "row" }, `p${row * G} – p${row * G + G - 1}`);
    return element("tr", {}, name, ...view.cells.slice(row * G, row * G + G));
  });
  const head = ["patches", ...Array.from({ length: G }, (_, column) => `+${column}`)];
  const headRow = element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)));
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of the numbers" });
  scroll.append(element("table", {}, view.numbersCaption, headRow, ...rows));
  view.numbers = element("details", { class: "numbers" }, element("summary", {}, `The ${G}×${G} numbers`), scroll);
  view.numbers.addEventListener("toggle", () => paint(view));
  return view.numbers;
}

// The top of the absolute scale is one of the choices, so the controls are made again when it moves.
function buildControls(view) {
  const set = (name) => (value) => {
    view.settings[name] = value;
    paint(view);
  };
  const scales = [
    ["absolute", `absolute, 0 – ${number(view, view.absoluteMax)}`],
    ["highest", `absolute, 0 – ${number(view, view.highest)}`],
    ["own", "own range each"],
  ].filter(([name]) => name !== "highest" || view.highest > 1.01 * view.absoluteMax || view.settings.scale === name);
  const { direction, scale, colormap, overlay, grid } = view.settings;
  view.controls.replaceChildren(
    selectControl("Direction", [["row", "looks at"], ["column", "is looked at by"]], direction, set("direction")),
    selectControl("Scale", scales, scale, set("scale")),
    coloursControl(colormap, set("colormap")),
    sliderControl("Overlay", overlay, set("overlay")),
    checkControl("Grid", grid, set("grid")),
  );
}

// ---- painting -------------------------------------------------------------------------------------------

// What changes with the data only
function paintScene(view, title) {
  for (const canvas of [view.scene, view.plain]) paintImage(canvas, view.image, view.image.shape[2]);
  view.sceneTitle.textContent = title;
  const G = view.gridSize;
  const keys = "Arrow keys move over the patches, Home or Escape goes back to CLS.";
  view.picture.setAttribute("aria-label", `${title || "Image"}, ${G} by ${G} patches. ${keys}`);
  const top = `${view.absoluteMax} ${view.highest}`;
  if (top !== view.controlsTop || !view.controls.firstChild) buildControls(view);
  view.controlsTop = top;
}

function scaleOf(view, values) {
  const { scale, colormap } = view.settings;
  const fixed = scale === "highest" ? view.highest : view.absoluteMax;
  const [low, high] = scale === "own" ? rangeOf(values.subarray(1)) : [0, fixed];
  return { colours: view.colours[colormap], low, high };
}

function paint(view) {
  const token = view.hovered ?? view.picked.token;
  let shown;
  let highest = 0;
  for (let layer = 0, i = 0; layer < view.numLayers; layer++) {
    for (const values of layerAttention(view, layer, token)) {
      const map = view.maps[i++];
      const isPicked = map.layer === view.picked.layer && map.head === view.picked.head;
      const patches = values.subarray(1);
      paintMap(map.canvas, patches, scaleOf(view, values));
      if (map.isPicked !== isPicked) Object.assign(map.button, { ariaPressed: `${isPicked}`, tabIndex: isPicked ? 0 : -1 });
      map.isPicked = isPicked;
      highest = Math.max(highest, rangeOf(patches)[1]);
      if (isPicked) shown = values;
    }
  }
  const scale = scaleOf(view, shown);
  paintPicture(view, token, shown, scale);
  paintPanel(view, token, shown, scale);
  const own = view.settings.scale === "own";
  paintAttentionLegend(view.legend, {
    ...scale,
    own,
    lowText: number(view, scale.low),
    highText: `${highest > scale.high * 1.001 && !own ? "≥ " : ""}${number(view, scale.high)}`,
    uniform: view.uniform,
    uniformText: number(view, view.uniform),
  });
  if (view.numbers.open) paintNumbers(view, token, shown);
}

function paintPicture(view, token, values, scale) {
  paintMap(view.overlay, values.subarray(1), scale);
  layOver(view.scene, view.overlay, view.settings.overlay);
  view.hairlines.style.display = view.settings.grid ? "" : "none";
  const [kept, halo, query] = view.outlines;
  place(kept, view.hovered === null ? 0 : view.picked.token, view.gridSize);
  place(halo, token, view.gridSize);
  place(query, token, view.gridSize);
  view.cls.setAttribute("aria-pressed", view.picked.token === 0);
  view.cls.classList.toggle("is-query", token === 0);
  paintSwatch(view.clsSwatch, values[0], scale);
  view.clsValue.textContent = number(view, values[0]);
}

function place(outline, token, gridSize) {
  outline.style.display = token === 0 ? "none" : "";
  outline.setAttribute("x", (token - 1) % gridSize);
  outline.setAttribute("y", Math.floor((token - 1) / gridSize));
}

function paintPanel(view, token, values, scale) {
  const strongest = strongestPatches(values);
  view.looks.textContent = lookName(view, token);
  view.place.textContent = `${placeName(view.picked)}: attention, and how many times uniform`;
  [...strongest, 0].forEach((other, i) => {
    const entry = view.entries[i];
    paintSwatch(entry.swatch, values[other], scale);
    entry.name.textContent = tokenName(other);
    entry.value.textContent = number(view, values[other]);
    entry.ratio.textContent = times(view, values[other]);
  });
  view.sentence.textContent = summary(view, values, strongest);
  const listed = strongest.map((other) => `${tokenName(other)} ${number(view, values[other])}`).join(", ");
  view.words = `${lookName(view, token)} ${listed}. ${view.sentence.textContent}`;
  view.between.textContent = between(view);
}

// While another patch is hovered: how the picked token stands to it
function between(view) {
  const { layer, head, token } = view.picked;
  if (view.hovered === null || view.hovered === token) return "";
  const value = layerAttention(view, layer, token)[view.heads.indexOf(head)][view.hovered];
  return `${lookName(view, token)} ${tokenName(view.hovered)}: ${number(view, value)}, ${times(view, value)}`;
}

function paintNumbers(view, token, values) {
  const strong = new Set(strongestPatches(values));
  view.cells.forEach((cell, i) => {
    cell.textContent = number(view, values[i + 1]);
    cell.classList.toggle("strong", strong.has(i + 1));
  });
  const here = `${lookName(view, token)}, ${placeName(view.picked)}. CLS: ${number(view, values[0])}.`;
  const uniform = `Uniform: ${number(view, view.uniform)}. Each value is rounded to 1/255 of the largest in its row.`;
  view.numbersCaption.textContent = `${here} ${uniform}`;
}
