// Attention maps of N images side by side on one scale; each below its image. The same shape again is painted in place.

export default function showMaps({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".maps");
  const view = (root.view ??= { root });
  view.open = (index) => setTriggerValue("opened", index);
  read(view, data);
  const captioned = [data.titles, ...data.columns.map((column) => column.captions)].map((texts) => texts.length > 0);
  const { size, interactive } = data;
  const shape = JSON.stringify([view.images.shape, view.columns.map(({ grid }) => grid), captioned, size, interactive]);
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
  view.settings = settingsOf(data.key, { scale: "absolute", colormap: "magma", overlay: 1 });
}

function build(view) {
  const { titles, size, interactive } = view.data;
  const { images, columns } = view;
  view.legend = makeLegend();
  const open = interactive ? (index) => view.open(index) : null;
  view.board = makeBoard({ images, columns, titled: titles.length > 0, layout: "strip", size, open });
  view.painted = null;
  view.root.replaceChildren(view.legend.root, ...(interactive ? [mapControls(view, () => paint(view))] : []), view.board.root);
  view.resizeObserver?.disconnect();
  view.resizeObserver = arrangeAlways(view.board, view.root);
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
      highest = Math.max(highest, rangeOf(values)[1]);
      paintMap(cell.map, values, scaleOf(view, values));
      layOver(cell.image, cell.map, view.settings.overlay);
    });
  });
  paintLegends(view, highest);
}

function scaleOf(view, values) {
  const own = view.settings.scale === "own";
  const [low, high] = own ? rangeOf(values) : view.data.scale;
  return { colors: COLORS[view.settings.colormap], low, high };
}

function paintLegends(view, highest) {
  const { scale, uniform, quantity, uniformName } = view.data;
  const own = view.settings.scale === "own";
  paintAttentionLegend(view.legend, { colors: COLORS[view.settings.colormap], own, scale, highest, uniform, uniformName, quantity });
}
