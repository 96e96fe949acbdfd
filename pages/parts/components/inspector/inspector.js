// The maps of one method for one image: of every layer, head and token, or one map of the image.
// L layers, H heads, N tokens (0 is CLS), G patches along a side. Hovering, arrow keys and the controls repaint locally;
// only the selection and the masked patches are sent back. The server sends all attention of a small model once; for a
// large one the rows of the selected token in all layers and heads, and the matrix of the selected head (`inView`).

const NUM_STRONGEST = 5;
const HARDLY_VISIBLE = 0.02; // share of the scale: five of 255 steps of a color
const KEYS_DELAY_MS = 250; // after which a selection by arrow keys is sent and announced
const LINKED = { scale: ["absolute", "shared", "own"], direction: ["row", "column"] }; // in the link besides colors and overlay
const MASK_DELAY_MS = 400; // the same for masked patches

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".inspector");
  const view = (root.view ??= { root, hovered: null, sent: {}, requested: {}, timers: {} });
  view.send = setTriggerValue;
  read(view, data);
  const shape = [...view.values.shape, ...view.image.shape, view.before !== null].join();
  if (shape !== view.shape) build(Object.assign(view, { shape, hovered: null }));
  applyRequest(view, data);
  paintScene(view, data);
  paint(view);
  return onRemoval(root, () => {
    Object.values(view.timers).forEach(clearTimeout);
    view.resizeObserver.disconnect();
  });
}

// ---- data -----------------------------------------------------------------------------------------------

function read(view, data) {
  view.image = unpack(data.image);
  Object.assign(view, unpackValues(data.values));
  view.isOneMap = view.values.shape.length === 1;
  // All of the view except its values
  view.before = data.before && Object.assign(Object.create(view), unpackValues(data.before));
  view.rows = null;
  Object.assign(view, { valueFormat: data.valueFormat, absoluteMax: data.absoluteMax, uniform: data.valueFormat.uniform });
  const start = { scale: "absolute", colormap: "magma", overlay: 1, grid: true, direction: "row", masking: false };
  view.settings = linkedSettings(data.key, start, LINKED);
  const [length] = view.values.shape;
  [view.numLayers, view.numHeads, view.numTokens] = view.isOneMap ? [1, 1, length + 1] : view.values.shape;
  view.gridSize = Math.round(Math.sqrt(view.numTokens - 1));
  const heads = Array.from({ length: view.numHeads }, (_, head) => head);
  view.heads = view.numHeads > 1 ? [...heads, "mean", "max"] : heads;
}

// values: uint16 (L, H, N, N) or (L, H, N) of row scales, or one map, float32 (N - 1)
function unpackValues({ values, rowScales, inView }) {
  return {
    values: unpack(values),
    rowScales: rowScales && unpack(rowScales),
    inView: inView && { ...inView, values: unpack(inView.values), rowScales: unpack(inView.rowScales) },
  };
}

// A request from Python is new unless it echoes a selection that was sent from here.
function isNewRequest(view, name, requested) {
  const text = JSON.stringify(requested);
  const sent = (view.sent[name] ??= []);
  const echo = sent.lastIndexOf(text);
  const isOther = text !== view.requested[name];
  view.requested[name] = text;
  if (echo >= 0) sent.splice(0, echo + 1);
  else if (isOther) sent.length = 0;
  return echo < 0 && isOther;
}

function applyRequest(view, { requested, masked }) {
  if (isNewRequest(view, "picked", requested)) view.picked = { ...requested };
  if (isNewRequest(view, "masked", masked)) view.masked = new Set(masked);
  if (view.isOneMap) return; // layer, head and token are kept for methods that have them
  view.picked.layer = Math.min(view.picked.layer, view.numLayers - 1);
  view.picked.token = Math.min(view.picked.token, view.numTokens - 1);
  if (!view.heads.includes(view.picked.head)) view.picked.head = requested.head;
}

// N values of one head: the row of the token (what it attends to) or its column (who attends to it). For a head that
// is not in view only the row of the selected token is known.
function headValues(view, layer, head, token) {
  const first = layer * view.numHeads + head;
  if (view.isOneMap) return withoutMasked(view, token, Float32Array.of(NaN, ...view.values));
  if (view.inView) return withoutMasked(view, view.inView.token, rowOf(view, first));
  return withoutMasked(view, token, lineOf(view, view, first * view.numTokens, token));
}

// The same for a head, the mean or the maximum
function valuesOf(view, layer, head, token) {
  if (isInView(view, layer, head)) return withoutMasked(view, token, lineOf(view, view.inView, 0, token));
  return layerValues(view, layer, token)[view.heads.indexOf(head)];
}

const isInView = ({ inView }, layer, head) => inView && inView.layer === layer && inView.head === head;

// The row or column of a token in a matrix that starts at the row `start` of the source
function lineOf(view, source, start, token) {
  if (view.settings.direction === "row") return rowOf(view, start + token, source);
  const { values, rowScales } = source;
  return Float32Array.from({ length: view.numTokens }, (_, other) => {
    const row = start + other;
    return (values[row * view.numTokens + token] / numLevels(values)) * rowScales[row];
  });
}

function rowOf(view, row, { values, rowScales } = view) {
  const N = view.numTokens;
  const [line, step] = [new Float32Array(N), rowScales[row] / numLevels(values)];
  for (let other = 0; other < N; other++) line[other] = values[row * N + other] * step;
  return line;
}

function withoutMasked(view, token, values) {
  if (!view.isOneMap && view.masked.has(token)) values.fill(NaN);
  for (const other of view.masked) values[other] = NaN;
  return values;
}

// The same for every column of the grid of maps: all heads, then their mean and max
function layerValues(view, layer, token) {
  const heads = Array.from({ length: view.numHeads }, (_, head) => headValues(view, layer, head, token));
  if (view.numHeads === 1) return heads;
  const mean = new Float32Array(view.numTokens);
  const max = new Float32Array(view.numTokens);
  for (const values of heads)
    for (let i = 0; i < mean.length; i++) {
      mean[i] += values[i] / heads.length;
      max[i] = Math.max(max[i], values[i]);
    }
  return [...heads, mean, max];
}

// ---- actions -----------------------------------------------------------------------------------------------

// Sends a value after `delay` ms without another one
function send(view, name, value, delay) {
  clearTimeout(view.timers[name]);
  view.timers[name] = setTimeout(() => {
    view.sent[name].push(JSON.stringify(value));
    view.send(name, value);
    announce(view);
  }, delay);
}

function pick(view, change, delay = 0) {
  Object.assign(view.picked, change);
  paint(view);
  send(view, "picked", { ...view.picked }, delay);
}

function toggleMask(view, token) {
  if (!view.masked.delete(token)) view.masked.add(token);
  view.rows = null;
  paint(view);
  send(view, "masked", [...view.masked], MASK_DELAY_MS);
}

function unmaskAll(view) {
  view.masked.clear();
  view.rows = null;
  paint(view);
  send(view, "masked", [], 0);
}

function announce(view) {
  view.status.textContent = `${placeName(view)}. ${view.announcement} ${maskedPatches(view)}`.trim();
}

// Painted in the next animation frame, to avoid a forced layout in the event handler
function hover(view, token) {
  if (token === view.hovered) return;
  view.hovered = token;
  view.painting ??= requestAnimationFrame(() => {
    view.painting = null;
    if (view.root.isConnected) paint(view);
  });
}

function clickPatch(view, token) {
  if (view.settings.masking) toggleMask(view, token);
  else pick(view, { token });
}

function pictureKey(view, event) {
  const token = view.picked.token;
  const patch = patchByKey(event, token - 1, view.gridSize);
  const home = event.key === "Home" || event.key === "Escape";
  const togglesMask = event.key === " " && view.settings.masking && token > 0;
  if (!(patch !== null || home || togglesMask) || hasModifier(event)) return;
  event.preventDefault();
  view.hovered = null;
  if (togglesMask) return toggleMask(view, token);
  pick(view, { token: home ? 0 : token === 0 ? 1 : patch + 1 }, KEYS_DELAY_MS);
}
