// Attention maps of N images side by side on one scale; a board of lines. The same shape again is painted in place.

export default function showMaps({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".maps");
  const view = (root.view ??= { root });
  view.open = (index) => setTriggerValue("opened", index);
  read(view, data);
  const captioned = [data.titles, ...data.columns.map((column) => column.captions)].map((texts) => texts.length > 0);
  const { layout, size, controls, clickable } = data;
  const grids = view.columns.map((column) => column.grid);
  const shape = JSON.stringify([view.images.shape, grids, captioned, layout, size, controls, clickable]);
  if (shape !== view.shape) build(Object.assign(view, { shape }));
  if (data.images.base64 !== view.painted) paintImages(view.board, view.images);
  view.painted = data.images.base64;
  paintTexts(view);
  paint(view);
  return onRemoval(root, () => view.resizeObserver.disconnect());
}

function read(view, data) {
  view.data = data;
  view.images = unpack(data.images);
  view.columns = data.columns.map((column) => {
    const values = unpack(column.values);
    const grid = Math.round(Math.sqrt(values.shape[1]));
    return { ...column, values, grid, captioned: column.captions.length > 0 };
  });
  view.colors ??= unpackColors(data.palettes);
  view.settings = settingsOf(data.key, data.start);
}

const isDifference = (view, column) => Boolean(view.data.difference) && column.name === "difference";

function build(view) {
  const { titles, layout, size, difference, controls, clickable } = view.data;
  const { images, columns } = view;
  view.legend = makeLegend();
  view.differenceLegend = difference ? makeLegend() : null;
  const open = clickable ? (index) => view.open(index) : null;
  view.board = makeBoard({ images, columns, titled: titles.length > 0, layout, size, open });
  view.painted = null;
  const legends = element("div", { class: "legends" }, view.legend.root, view.differenceLegend?.root);
  view.root.replaceChildren(legends, ...(controls ? [buildControls(view)] : []), view.board.root);
  view.resizeObserver?.disconnect();
  view.resizeObserver = new ResizeObserver(() => arrangeBoard(view.board, view.root.clientWidth));
  view.resizeObserver.observe(view.root);
  arrangeBoard(view.board, view.root.clientWidth);
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
    scaleControl(scale, set("scale")),
    colorsControl(view.colors, colormap, set("colormap")),
  );
}

function paintTexts(view) {
  const names = view.columns.map((column) => column.name);
  paintNames(view.board, ["image", ...names]);
  view.board.lines.forEach((line, n) => {
    const captions = view.columns.map((column) => column.captions[n]);
    paintCaptions(line, n, view.data.titles[n] ?? "", names, captions);
  });
}

function paint(view) {
  let highest = 0;
  view.board.lines.forEach((line, n) => {
    line.cells.forEach((cell, i) => {
      const column = view.columns[i];
      const length = column.grid ** 2;
      const values = column.values.subarray(n * length, (n + 1) * length);
      if (!isDifference(view, column)) highest = Math.max(highest, rangeOf(values)[1]);
      paintMap(cell.map, values, scaleOf(view, column, values));
      layOver(cell.image, cell.map, view.settings.overlay);
    });
  });
  paintLegends(view, highest);
}

function scaleOf(view, column, values) {
  const own = view.settings.scale === "own";
  if (isDifference(view, column)) return signedScale(view.colors.difference, own ? values : view.data.differenceMax);
  const [low, high] = own ? rangeOf(values) : view.data.scale;
  return { colors: view.colors[view.settings.colormap], low, high };
}

function paintLegends(view, highest) {
  const own = view.settings.scale === "own";
  const { scale, uniform, quantity, uniformName, difference, differenceMax } = view.data;
  const [low, high] = scale;
  paintAttentionLegend(view.legend, {
    colors: view.colors[view.settings.colormap],
    quantity,
    uniformName,
    own,
    low,
    high,
    lowText: own ? "lowest in the map" : shortNumber(low),
    highText: own ? "highest in the map" : `${highest > high * 1.001 ? "≥ " : ""}${shortNumber(high)}`,
    uniform: own ? NaN : uniform,
    uniformText: shortNumber(uniform),
  });
  if (!difference) return;
  const title = `Difference: ${difference[1]} − ${difference[0]}. Blue is less, red is more.`;
  const ends = { low: signedNumber(-differenceMax), high: signedNumber(differenceMax) };
  paintSignedLegend(view.differenceLegend, { colors: view.colors.difference, title, own, ...ends });
}
