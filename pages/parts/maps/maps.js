// Attention maps of N images side by side, G patches along a side, on one scale.
// One line per image: the image, then a cell per column. The same shape of data again is painted in place.

const GAP = 8; // between cells, px, as in maps.css
const LINE_GAP = 24;
const NAMES_WIDTH = 76; // of the names beside a strip

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".maps");
  const view = (root.view ??= { root });
  view.open = (index) => setTriggerValue("opened", index);
  read(view, data);
  const captioned = [data.titles, ...data.columns.map((column) => column.captions)].map((texts) => texts.length > 0);
  const { layout, size, controls, clickable } = data;
  const shape = JSON.stringify([view.images.shape, view.gridSize, captioned, layout, size, controls, clickable]);
  if (shape !== view.shape) build(Object.assign(view, { shape }));
  paintImages(view, data.images.base64);
  paintTexts(view);
  paint(view);
  return onRemoval(root, () => view.resized.disconnect());
}

function read(view, data) {
  view.data = data;
  view.images = unpack(data.images);
  view.columns = data.columns.map((column) => ({ ...column, values: unpack(column.values) }));
  view.gridSize = Math.round(Math.sqrt(view.columns[0].values.shape[1]));
  view.colours ??= unpackColours(data.palettes);
  view.settings = settingsOf(data.key, data.start);
}

const isDifference = (view, column) => Boolean(view.data.difference) && column.name === "difference";
const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + plain(Math.abs(value));
const plain = (value) => (value === 0 ? "0" : value.toFixed(value < 0.1 ? 4 : 3).replace(/0$/, ""));

// ---- building, once per shape of the data ---------------------------------------------------------------

function build(view) {
  const { layout, columns, difference, controls } = view.data;
  view.legend = makeLegend();
  view.differenceLegend = difference ? makeLegend() : null;
  view.lines = Array.from({ length: view.images.shape[0] }, (_, index) => buildLine(view, index));
  view.board = element("div", { class: `board ${layout}` }, ...view.lines.map((line) => line.root));
  view.board.style.setProperty("--cells", columns.length + 1);
  view.names = [];
  const legends = element("div", { class: "legends" }, view.legend.root, view.differenceLegend?.root);
  view.root.replaceChildren(legends, ...(controls ? [buildControls(view)] : []), view.board);
  view.resized?.disconnect();
  view.resized = new ResizeObserver(() => arrange(view));
  view.resized.observe(view.root);
  arrange(view);
}

function buildLine(view, index) {
  const { columns, clickable, titles } = view.data;
  const [, height, width] = view.images.shape;
  const G = view.gridSize;
  const image = { canvas: pixelCanvas(width, height), caption: element("span", { class: "caption" }) };
  const cells = columns.map((column) => ({
    image: pixelCanvas(width, height),
    map: pixelCanvas(G, G),
    caption: element("span", { class: "caption" }),
  }));
  const cell = (canvases, caption, texts) => {
    const stack = element("span", { class: "stack" }, ...canvases);
    return element("span", { class: "cell" }, element("span", { class: "cell-name" }), stack, texts.length ? caption : null);
  };
  const children = [
    cell([image.canvas], image.caption, titles),
    ...cells.map(({ image, map, caption }, i) => cell([image, map], caption, columns[i].captions)),
  ];
  const root = clickable
    ? element("button", { type: "button", class: "line", onclick: () => view.open(index) }, ...children)
    : element("div", { class: "line", role: "img" }, ...children);
  return { root, image, cells };
}

function buildControls(view) {
  const set = (name) => (value) => {
    view.settings[name] = value;
    paint(view);
  };
  const { scale, colormap, overlay } = view.settings;
  return element(
    "div",
    { class: "controls" },
    sliderControl("Overlay", overlay, set("overlay")),
    selectControl("Scale", [["absolute", "absolute"], ["own", "own range each"]], scale, set("scale")),
    coloursControl(colormap, set("colormap")),
  );
}

// How many images stand side by side and how large a cell is: a cell may shrink a little to let one more fit.
// The names of the columns stand in front, in a strip again at each new line.
function arrange(view) {
  const strip = view.data.layout === "strip";
  const { size, columns } = view.data;
  const perLine = strip ? 1 : columns.length + 1;
  const gap = strip ? GAP : LINE_GAP;
  const room = view.root.clientWidth - (strip ? NAMES_WIDTH : 0) + gap;
  const lineWidth = (cell) => perLine * (cell + GAP) - GAP + gap;
  const across = Math.max(1, Math.min(view.lines.length, Math.floor(room / lineWidth(0.8 * size))));
  const fitting = (room / across - gap + GAP) / perLine - GAP;
  const narrow = fitting < 0.8 * size;
  view.board.style.setProperty("--size", `${narrow ? size : Math.min(size, 8 * Math.floor(fitting / 8))}px`);
  view.board.style.setProperty("--across", across);
  view.board.classList.toggle("narrow", narrow);
  if (across !== view.across || !view.names.length) placeNames(view, across);
}

function placeNames(view, across) {
  const strip = view.data.layout === "strip";
  for (const placed of view.names) placed.remove();
  const starts = strip ? view.lines.filter((_, i) => i % across === 0) : Array(across).fill(view.lines[0]);
  view.across = across;
  view.names = starts.map((line) => {
    const cells = Array.from({ length: view.columns.length + 1 }, () => element("span"));
    const row = element("div", { class: "names", "aria-hidden": "true" }, ...cells);
    line.root.before(row);
    return row;
  });
  paintNames(view);
}

// ---- painting -------------------------------------------------------------------------------------------

function paintImages(view, sent) {
  if (sent === view.painted && view.paintedShape === view.shape) return;
  Object.assign(view, { painted: sent, paintedShape: view.shape });
  const [, height, width, channels] = view.images.shape;
  const length = height * width * channels;
  view.lines.forEach((line, n) => {
    const bytes = view.images.subarray(n * length, (n + 1) * length);
    for (const canvas of [line.image.canvas, ...line.cells.map((cell) => cell.image)]) paintImage(canvas, bytes, channels);
  });
}

// The names stand in front of the board, and where it is narrow above each picture.
function paintNames(view) {
  const names = ["image", ...view.columns.map((column) => column.name)];
  for (const row of view.names) names.forEach((name, i) => setText(row.children[i], name));
  for (const line of view.lines) names.forEach((name, i) => setText(line.root.children[i].firstChild, name));
}

function paintTexts(view) {
  paintNames(view);
  view.lines.forEach((line, n) => {
    const title = view.data.titles[n] ?? "";
    setText(line.image.caption, title);
    const spoken = [`image ${n + 1}${title ? `, ${title}` : ""}`];
    line.cells.forEach(({ caption }, i) => {
      const [text, right] = view.columns[i].captions[n] ?? ["", null];
      setText(caption, right === null ? text : `${right ? "✓" : "✗"} ${text}`);
      caption.classList.toggle("right", right === true);
      caption.classList.toggle("wrong", right === false);
      if (text) spoken.push(`${view.columns[i].name}: ${text}${right === null ? "" : right ? ", right" : ", wrong"}`);
    });
    line.root.setAttribute("aria-label", spoken.join("; "));
  });
}

function setText(node, said) {
  const text = said.replaceAll(" %", "\u00a0%");
  if (node.textContent !== text) Object.assign(node, { textContent: text, title: text });
}

function paint(view) {
  const length = view.gridSize ** 2;
  let highest = 0;
  view.lines.forEach((line, n) => {
    line.cells.forEach((cell, i) => {
      const values = view.columns[i].values.subarray(n * length, (n + 1) * length);
      if (!isDifference(view, view.columns[i])) highest = Math.max(highest, rangeOf(values)[1]);
      paintMap(cell.map, values, scaleOf(view, view.columns[i], values));
      layOver(cell.image, cell.map, view.settings.overlay);
    });
  });
  paintLegends(view, highest);
}

function scaleOf(view, column, values) {
  const own = view.settings.scale === "own";
  const [low, high] = own ? rangeOf(values) : view.data.scale;
  if (!isDifference(view, column)) return { colours: view.colours[view.settings.colormap], low, high };
  const most = own ? Math.max(Math.abs(low), Math.abs(high)) : view.data.differenceMax;
  return { colours: view.colours.difference, low: most ? -most : -1, high: most || 1 };
}

function paintLegends(view, highest) {
  const own = view.settings.scale === "own";
  const { scale, uniform, difference, differenceMax } = view.data;
  const [low, high] = scale;
  paintAttentionLegend(view.legend, {
    colours: view.colours[view.settings.colormap],
    own,
    low,
    high,
    lowText: own ? "lowest in the map" : plain(low),
    highText: own ? "highest in the map" : `${highest > high * 1.001 ? "≥ " : ""}${plain(high)}`,
    uniform: own ? NaN : uniform,
    uniformText: plain(uniform),
  });
  if (!difference) return;
  paintLegend(view.differenceLegend, {
    colours: view.colours.difference,
    title: `Difference: ${difference[1]} − ${difference[0]}. Blue is less, red is more.`,
    low: own ? "most less" : signed(-differenceMax),
    high: own ? "most more" : signed(differenceMax),
    marks: [[0.5, "0"]],
  });
}
