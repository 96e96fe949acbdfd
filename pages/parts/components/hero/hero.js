// An image comes apart into patches, and then its attention is trained: once, or again by the button.

const ZOOM = 8; // canvas pixels for a pixel of the image, so that patches can move by less than one
const GAP = 1; // between patches in the end, pixels of the image
const CUT_MS = 900;
const TRAIN_MS = 3200;

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".hero");
  const drawn = JSON.stringify([data.image.base64, data.maps.base64]);
  if (root.view?.drawn === drawn) return undefined; // a rerun of the page does not play it again
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  const view = (root.view = { root, data, drawn, reducedMotion, image: unpack(data.image), maps: unpack(data.maps) });
  view.grid = Math.round(Math.sqrt(view.maps.shape[1]));
  build(view);
  if (reducedMotion.matches) show(view, 1, 1);
  else play(view);
  return onRemoval(root, () => cancelAnimationFrame(view.frame));
}

function build(view) {
  const { data, grid } = view;
  const [height, width, channels] = view.image.shape;
  view.source = pixelCanvas(width, height);
  view.patches = pixelCanvas(ZOOM * width, ZOOM * height);
  [view.untrained, view.trained] = [pixelCanvas(grid, grid), pixelCanvas(grid, grid)];
  view.checkpointName = element("span", {});
  paintImage(view.source, view.image, channels);
  const panel = (picture, label, ...caption) =>
    element("figure", { class: "panel", role: "img", "aria-label": label }, picture, element("figcaption", {}, ...caption));
  const last = data.checkpoints.at(-1);
  const panels = element(
    "div",
    { class: "panels" },
    panel(element("span", { class: "stack" }, view.source), data.title, `${width} × ${height} pixels`),
    panel(element("span", { class: "stack clear" }, view.patches), "The image cut into patches", `as ${grid ** 2} patches`),
    panel(element("span", { class: "stack" }, view.untrained), "Attention of the untrained model", "attention, untrained"),
    panel(element("span", { class: "stack" }, view.trained), `Attention at ${last}`, "attention, ", view.checkpointName),
  );
  view.legend = makeLegend();
  view.replay = element("button", { type: "button", class: "button", onclick: () => play(view) }, "Play again");
  view.replay.hidden = view.reducedMotion.matches;
  view.root.replaceChildren(panels, element("div", { class: "foot" }, view.legend.root, view.replay));
  const text = (value) => (value ? `${(100 * value).toFixed(1)}%` : "0");
  const { scale, uniform } = data;
  const quantity = "Attention of CLS";
  paintAttentionLegend(view.legend, { colors: COLORS.magma, scale, highest: Infinity, uniform, quantity, text });
}

// separation and trained: 0..1, how far the patches have come apart and the training has gone
function show(view, separation, trained) {
  paintPatches(view, separation);
  const { data, maps } = view;
  const [last, length] = [maps.shape[0] - 1, maps.shape[1]];
  const at = Math.min(last, Math.floor(trained * last));
  const next = Math.min(last, at + 1);
  const share = trained * last - at;
  const between = (i) => (1 - share) * maps[at * length + i] + share * maps[next * length + i];
  paint(view, view.untrained, maps.subarray(0, length));
  paint(view, view.trained, Float32Array.from({ length }, (_, i) => between(i)));
  const name = data.checkpoints[share < 0.5 ? at : next];
  if (view.checkpointName.textContent !== name) view.checkpointName.textContent = name;
}

function paint({ data }, map, values) {
  paintMap(map, values, { colors: COLORS.magma, low: data.scale[0], high: data.scale[1] });
}

function paintPatches({ source, patches, grid }, separation) {
  const context = patches.getContext("2d");
  const [from, cell] = [source.width / grid, patches.width / grid];
  const to = cell - separation * GAP * ZOOM;
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, patches.width, patches.height);
  for (let i = 0; i < grid ** 2; i++) {
    const [x, y] = [i % grid, Math.floor(i / grid)];
    const margin = (cell - to) / 2;
    context.drawImage(source, x * from, y * from, from, from, x * cell + margin, y * cell + margin, to, to);
  }
}

function play(view) {
  cancelAnimationFrame(view.frame);
  const ease = (share) => share * share * (3 - 2 * share);
  const start = performance.now();
  const step = (now) => {
    const since = Math.max(0, now - start);
    show(view, ease(Math.min(1, since / CUT_MS)), Math.max(0, Math.min(1, (since - CUT_MS) / TRAIN_MS)));
    if (since < CUT_MS + TRAIN_MS && view.root.isConnected) view.frame = requestAnimationFrame(step);
  };
  step(start);
}
