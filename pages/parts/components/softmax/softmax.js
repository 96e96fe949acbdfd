// One attention weight from the pixels on, for the patch under the pointer or the one that was picked.
// C channels, p patch size, G patches along a side, N tokens with CLS first, E embed_dim, D dimensions of a head.

const MAX_NUMBERED = 4; // pixels along a patch whose numbers are written; those of a larger patch are only painted

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".softmax");
  const view = (root.view ??= { root });
  view.send = (patch) => setTriggerValue("picked", patch);
  read(view, data);
  const shape = [view.image.shape, view.tokens.shape, view.keys.shape, view.size].flat().join();
  if (shape !== view.shape) build(Object.assign(view, { shape }));
  view.stages.forEach((card, name) => card.classList.toggle("framed", name === data.stage));
  paintOnce(view);
  paint(view);
}

function read(view, data) {
  const { image, tokens, query, keys, scores, weights } = data;
  Object.assign(view, { data, image: unpack(image), tokens: unpack(tokens), query: unpack(query), keys: unpack(keys) });
  Object.assign(view, { scores: unpack(scores), weights: unpack(weights), size: data.patchSize, hovered: null });
  view.grid = view.image.shape[1] / view.size;
  if (view.requested !== data.patch) view.picked = view.requested = data.patch;
}

// ---- elements ------------------------------------------------------------------------------------------------

function build(view) {
  view.stages = new Map();
  view.status = element("p", { class: "hidden-text", role: "status" });
  const cards = [buildPatch(view), buildToken(view), buildScore(view)];
  view.root.replaceChildren(element("div", { class: "cards" }, ...cards), view.status);
}

function card(view, name, heading, ...children) {
  const root = element("section", { class: `card of-${name}` }, element("h3", {}, heading), ...children);
  view.stages.set(name, root);
  return root;
}

function buildPatch(view) {
  const [height, width] = view.image.shape;
  view.scene = pixelCanvas(width, height);
  view.map = pixelCanvas(view.grid, view.grid);
  view.outline = element("span", { class: "outline" });
  view.picture = element(
    "div",
    {
      class: "stack picture",
      tabindex: 0,
      role: "application",
      "aria-label": "The patches of the image. Arrow keys move over them.",
      onpointermove: (event) => hover(view, patchAt(event, view.grid)),
      onpointerleave: () => hover(view, null),
      onclick: (event) => pick(view, patchAt(event, view.grid)),
      onkeydown: (event) => onKey(view, event),
    },
    view.scene,
    view.map,
    view.outline,
  );
  view.pixels = Array.from({ length: view.size ** 2 }, () => element("span", { class: "pixel" }));
  const numbers = element("div", { class: "pixels-grid" }, ...view.pixels);
  numbers.style.setProperty("--side", view.size);
  view.patchHeading = element("span", {});
  view.mapLegend = makeLegend();
  view.patchText = element("p", { class: "muted" });
  const pair = element("div", { class: "pair" }, view.picture, numbers);
  return card(view, "patch", view.patchHeading, pair, view.mapLegend.root, view.patchText);
}

function buildToken(view) {
  const length = view.tokens.shape[1];
  const side = Math.min(length, 8 * Math.ceil(Math.sqrt(length / 32)));
  const strip = (name) => ({ name, canvas: pixelCanvas(side, Math.ceil(length / side)) });
  view.strips = [strip(element("span", {})), strip(element("span", {}, "CLS"))];
  const rows = view.strips.map(({ name, canvas }) => element("div", { class: "strip" }, name, canvas));
  view.tokenLegend = makeLegend();
  view.tokenText = element("p", { class: "muted" });
  return card(view, "token", `Token: ${length} numbers`, ...rows, view.tokenLegend.root, view.tokenText);
}

function buildScore(view) {
  const length = view.keys.shape[1];
  view.rows = ["query", "key", "product"].map((kind) => {
    const name = element("th", { scope: "row" });
    const cells = Array.from({ length }, () => element("td", {}));
    return { kind, name, cells, root: element("tr", { class: kind }, name, ...cells) };
  });
  const table = element("table", {}, element("tbody", {}, ...view.rows.map((row) => row.root)));
  const region = { class: "scroll", tabindex: 0, role: "region", "aria-label": "Query, key and their products" };
  view.steps = ["products", "score", "power", "weight"].map((name) => element("li", { class: name }));
  view.bars = Array.from({ length: view.weights.length }, (_, token) =>
    element("span", { class: "bar", onpointerenter: () => hover(view, token ? token - 1 : null) }),
  );
  const bars = element("div", { class: "bars", "aria-hidden": "true", onpointerleave: () => hover(view, null) }, ...view.bars);
  view.scoreHeading = element("span", {});
  view.rowText = element("p", { class: "muted" });
  const list = element("ol", { class: "steps" }, ...view.steps);
  return card(view, "softmax", view.scoreHeading, element("div", region, table), list, bars, view.rowText);
}

// ---- painting ------------------------------------------------------------------------------------------------

// What does not change with the patch
function paintOnce(view) {
  const { data, weights } = view;
  paintImage(view.scene, view.image, view.image.shape[2]);
  const { scale } = data;
  const [low, high] = scale;
  const highest = rangeOf(weights.subarray(1))[1];
  const uniform = 1 / data.numTokens;
  paintAttentionLegend(view.mapLegend, { colors: COLORS.magma, scale, highest, uniform, text: percentage });
  paintMap(view.map, weights.subarray(1), { colors: COLORS.magma, low, high });
  const hasWeights = !["patch", "token"].includes(data.stage); // a tour explains the image before the weights
  layOver(view.scene, view.map, hasWeights ? 0.5 : 0);
  view.mapLegend.root.hidden = !hasWeights;
  view.limit = Math.max(...rangeOf(view.tokens).map(Math.abs));
  const ends = { low: `−${view.limit.toFixed(1)}`, high: `+${view.limit.toFixed(1)}`, marks: [[0.5, "0"]] };
  paintLegend(view.tokenLegend, { colors: COLORS.difference, title: "", ...ends });
  const largest = Math.max(...weights);
  view.bars.forEach((bar, token) => bar.style.setProperty("--share", weights[token] / largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const others = data.numTokens > weights.length ? " without the registers" : "";
  view.rowText.textContent = `The ${weights.length} weights of ${tokenName(data.queryToken)}, CLS first: ${sum.toFixed(2)} in sum${others}.`;
  const [, width] = view.image.shape;
  const count = view.size ** 2 * view.image.shape[2];
  const what = view.image.shape[2] === 3 ? "red, green and blue" : "brightness";
  view.patchText.textContent = `${view.size} × ${view.size} pixels of ${what}, 0 to 255: ${count} numbers. The ${width} × ${width} image has ${view.grid ** 2} such patches${hasWeights ? "; the color of a patch's edge is its weight" : ""}.`;
  paintToken(view, view.strips[1], 0);
}

function paint(view) {
  const patch = view.hovered ?? view.picked;
  const token = patch + 1;
  const [row, column] = [Math.floor(patch / view.grid), patch % view.grid];
  view.outline.style.cssText = `--row: ${row}; --column: ${column}; --grid: ${view.grid}`;
  paintPixels(view, row, column);
  view.strips[0].name.textContent = tokenName(token);
  paintToken(view, view.strips[0], token);
  view.tokenText.textContent = `One matrix makes ${view.tokens.shape[1]} numbers of the patch's; those of its position are added, one to one. CLS starts from learned numbers, the same for every image. These tokens enter layer 1; the query and keys of a later layer are made from the results of the one before.`;
  view.patchHeading.textContent = `Patch ${tokenName(token)}: ${view.size ** 2 * view.image.shape[2]} numbers`;
  paintScore(view, token);
  view.bars.forEach((bar, other) => bar.classList.toggle("current", other === token));
}

function paintPixels({ pixels, size, image }, row, column) {
  const [, width, channels] = image.shape;
  pixels.forEach((cell, i) => {
    const [y, x] = [row * size + Math.floor(i / size), column * size + (i % size)];
    const start = channels * (y * width + x);
    const values = [...image.subarray(start, start + channels)];
    const color = channels === 3 ? values : [values[0], values[0], values[0]];
    cell.style.backgroundColor = `rgb(${color})`;
    cell.style.color = luminance(color) > 0.179 ? "#000" : "#fff";
    cell.textContent = size <= MAX_NUMBERED ? values.join("\n") : "";
  });
}

function paintToken({ tokens, limit }, { canvas }, token) {
  const length = tokens.shape[1];
  const values = new Float32Array(canvas.width * canvas.height).fill(NaN);
  values.set(tokens.subarray(token * length, (token + 1) * length));
  paintMap(canvas, values, { colors: COLORS.difference, low: -limit, high: limit });
}

function paintScore(view, token) {
  const { query, keys, scores, weights, data } = view;
  const D = query.length;
  const key = keys.subarray(token * D, (token + 1) * D);
  const products = query.map((value, i) => value * key[i]);
  const from = tokenName(data.queryToken);
  const values = { query, key, product: products };
  const names = { query: `query of ${from}`, key: `key of ${tokenName(token)}`, product: "product" };
  for (const { kind, name, cells } of view.rows) {
    name.textContent = names[kind];
    cells.forEach((cell, i) => (cell.textContent = signed(values[kind][i])));
  }
  const sum = products.reduce((total, value) => total + value, 0);
  const power = Math.exp(scores[token]);
  const lines = [
    ["Sum of the products", `${signed(sum)}`],
    ["Score", `${signed(sum)} / √${D} = ${signed(scores[token])}`],
    ["e to the score", `e^${signed(scores[token])} = ${short(power)}`],
    ["Weight", `${short(power)} / ${short(data.total)} = ${percentage(weights[token])}`],
  ];
  lines.forEach(([name, text], i) => view.steps[i].replaceChildren(element("span", {}, name), element("b", {}, text)));
  view.steps[3].append(element("span", { class: "muted" }, ` ${(weights[token] * data.numTokens).toFixed(1)} × uniform, an equal 1/${data.numTokens} for each; ${short(data.total)} is e to the score, summed over all ${data.numTokens} tokens`));
  view.scoreHeading.textContent = `${from} attends to ${tokenName(token)}: ${data.title}`;
  view.words = `${tokenName(token)}: score ${signed(scores[token])}, weight ${percentage(weights[token])}.`;
}

const signed = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
const short = (value) => (value >= 1e5 || value < 0.005 ? value.toExponential(1) : value.toFixed(2));
const percentage = (share) => `${(100 * share).toFixed(1)}%`;

// ---- actions -------------------------------------------------------------------------------------------------

function hover(view, patch) {
  if (patch === view.hovered) return;
  view.hovered = patch;
  paint(view);
}

function pick(view, patch) {
  view.picked = view.requested = patch;
  view.hovered = null;
  paint(view);
  view.status.textContent = view.words;
  view.send(patch);
}

function onKey(view, event) {
  const patch = patchByKey(event, view.picked, view.grid);
  if (patch === null || hasModifier(event)) return;
  event.preventDefault();
  pick(view, patch);
}
