// Small maps and pictures in named rows on one scale. Redrawn when the data changes, synchronously, so that nothing flickers.

const NUM_FEW = 5; // tiles of a row that remain side by side on narrow pages

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".tiles");
  const view = (root.view ??= start(root, data));
  view.data = data;
  view.maps = [];
  root.setAttribute("aria-label", data.label);
  root.style.setProperty("--size", `${data.size}px`);
  root.style.setProperty("--most", Math.max(...data.rows.map((row) => row.tiles.length)));
  root.classList.toggle("few", data.rows.every((row) => row.tiles.length <= NUM_FEW));
  view.head.replaceChildren(...(data.scale ? [view.legend.root] : []), ...(data.choice ? [view.control] : []));
  view.rows.replaceChildren(...data.rows.map((row) => makeRow(view, row)));
  if (data.scale) paint(view);
}

function start(root, { key }) {
  const settings = settingsOf(key, { scale: "absolute" });
  const colors = { ...COLORS, gray: Uint32Array.from({ length: 256 }, (_, i) => 0xff000000 + 0x10101 * i) };
  const [head, rows] = ["head", "rows"].map((name) => element("div", { class: name }));
  const view = { settings, colors, legend: makeLegend(), rows, head };
  const scales = [["absolute", "absolute"], ["own", "scale of these maps"]];
  const choose = (scale) => {
    settings.scale = scale;
    paint(view);
  };
  view.control = element("div", { class: "controls" }, selectControl("Scale", scales, settings.scale, choose));
  root.setAttribute("role", "group");
  root.replaceChildren(head, rows);
  return view;
}

function makeRow(view, { name, tiles }) {
  const node = tiles.map((tile, i) => makeTile(view, tile, [name, tile.name || `number ${i + 1}`]));
  return element(
    "div",
    { class: name ? "row" : "row nameless" },
    name ? element("span", { class: "row-name" }, name) : null,
    element("div", { class: "row-tiles" }, ...node),
  );
}

// names: of its row and its own, for a screen reader
function makeTile(view, { name, caption, pixels }, names) {
  const values = unpack(pixels);
  const [height, width, channels] = values.shape;
  const canvas = pixelCanvas(width, height);
  if (channels) paintImage(canvas, values, channels);
  else view.maps.push({ canvas, values });
  const label = [...names, caption].filter(Boolean).join(", ");
  const above = element("span", { class: "tile-name" }, name);
  const below = element("span", { class: "tile-caption" }, caption);
  return element("div", { class: "tile", role: "img", "aria-label": label }, above, canvas, below);
}

function paint({ data, settings, colors, legend, maps }) {
  const { title, colors: name, marks } = data.scale;
  const own = data.choice && settings.scale === "own" && maps.length > 0;
  const ranges = maps.map(({ values }) => rangeOf(values));
  const range = [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  const [low, high] = own ? ownRange(range, name) : [data.scale.low, data.scale.high];
  for (const { canvas, values } of maps) paintMap(canvas, values, { colors: colors[name], low, high });
  const format = name === "magma" ? shortNumber : signedNumber;
  const past = (end, number) => (maps.length && !own && number ? end : "");
  paintLegend(legend, {
    colors: colors[name],
    title,
    warning: [own ? "Scaled to these maps: contrast exaggerated." : "", startOf({ low, high }, format)].join(" ").trim(),
    low: past("≤ ", range[0] < low - 1e-9) + format(low),
    high: past("≥ ", range[1] > high * 1.001) + format(high),
    marks: Object.entries(marks).map(([text, value]) => [(value - low) / (high - low), text]),
  });
}

// Symmetric for signed values, so that 0 stays in the middle.
function ownRange([low, high], colors) {
  const maximum = Math.max(-low, high) || 1;
  return colors === "difference" ? [-maximum, maximum] : [low, high > low ? high : low + 1e-12];
}
