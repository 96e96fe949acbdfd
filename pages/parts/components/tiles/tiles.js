// Small maps and pictures in named rows on one scale. Drawn anew whenever the data changes, at once, so nothing flickers.

const FEW = 5; // tiles of a row that stand side by side however narrow the page is

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".tiles");
  const view = (root.view ??= start(root, data));
  view.data = data;
  view.maps = [];
  root.setAttribute("aria-label", data.label);
  root.style.setProperty("--size", `${data.size}px`);
  root.style.setProperty("--most", Math.max(...data.rows.map((row) => row.tiles.length)));
  root.classList.toggle("few", data.rows.every((row) => row.tiles.length <= FEW));
  view.head.replaceChildren(view.legend.root, ...(data.choice ? [view.control] : []));
  view.rows.replaceChildren(...data.rows.map((row) => makeRow(view, row)));
  paint(view);
}

function start(root, { key, palettes }) {
  const settings = settingsOf(key, { scale: "absolute" });
  const colours = { ...unpackColours(palettes), grey: Uint32Array.from({ length: 256 }, (_, i) => 0xff000000 + 0x10101 * i) };
  const legend = makeLegend();
  const rows = element("div", { class: "rows" });
  const scales = [["absolute", "absolute"], ["own", "own range of these maps"]];
  const control = element("div", { class: "controls" });
  const head = element("div", { class: "head" });
  const view = { settings, colours, legend, rows, control, head };
  control.append(
    selectControl("Scale", scales, settings.scale, (scale) => {
      settings.scale = scale;
      paint(view);
    }),
  );
  root.setAttribute("role", "group");
  root.replaceChildren(head, rows);
  return view;
}

function makeRow(view, { name, tiles }) {
  const made = tiles.map((tile, i) => makeTile(view, tile, [name, tile.name || `number ${i + 1}`]));
  return element(
    "div",
    { class: name ? "row" : "row nameless" },
    name ? element("span", { class: "row-name" }, name) : null,
    element("div", { class: "row-tiles" }, ...made),
  );
}

// names: of its row and its own, for a screen reader
function makeTile(view, { name, caption, pixels }, names) {
  const values = unpack(pixels);
  const [height, width, channels] = values.shape;
  const canvas = pixelCanvas(width, height);
  if (channels) paintImage(canvas, values, channels);
  else view.maps.push({ canvas, values });
  const said = [...names, caption].filter(Boolean).join(", ");
  const above = element("span", { class: "tile-name" }, name);
  const below = element("span", { class: "tile-caption" }, caption);
  return element("div", { class: "tile", role: "img", "aria-label": said }, above, canvas, below);
}

function paint({ data, settings, colours, legend, maps }) {
  const { title, colours: name, marks } = data.scale;
  const own = data.choice && settings.scale === "own" && maps.length > 0;
  const ranges = maps.map(({ values }) => rangeOf(values));
  const found = [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  const [low, high] = own ? ownRange(found, name) : [data.scale.low, data.scale.high];
  for (const { canvas, values } of maps) paintMap(canvas, values, { colours: colours[name], low, high });
  const inWords = name === "magma" ? shortNumber : signedNumber;
  const past = (end, number) => (maps.length && !own && number ? end : "");
  paintLegend(legend, {
    colours: colours[name],
    title,
    warning: own ? "From their own lowest to highest: contrast exaggerated." : "",
    low: past("≤ ", found[0] < low - 1e-9) + inWords(low),
    high: past("≥ ", found[1] > high * 1.001) + inWords(high),
    marks: marks.map(([value, text]) => [(value - low) / (high - low), text]),
  });
}

// Of signed numbers to either side as far as the farthest, so that 0 stays in the middle.
function ownRange([low, high], colours) {
  const most = Math.max(-low, high) || 1;
  return colours === "difference" ? [-most, most] : [low, high > low ? high : low + 1e-12];
}
