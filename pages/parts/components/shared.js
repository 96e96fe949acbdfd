// Shared by several components; prepended to the code of each.

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

// {dtype, shape, base64} from component.packed -> typed array with .shape
function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.base64), (character) => character.charCodeAt(0));
  const array = new ARRAYS[packed.dtype](bytes.buffer);
  array.shape = packed.shape;
  return array;
}

// An element with attributes and children; text is always set as text, never as markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function setText(node, text, titled = false) {
  if (node.textContent !== text) Object.assign(node, { textContent: text }, titled ? { title: text } : {});
}

// ---- Attention maps, their legends and their controls ----------------------------------

function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const STEPS = 16; // from one of the 256 colors of a table to the next
const NUM_COLORS = 255 * STEPS + 1;
const NUM_LEVELS = 65535; // of a value in a row or map, as in `quantized`

// {name: NUM_COLORS RGBA pixels} of PALETTES, which component.py puts before this script: {name: packed (256, 3)}
const COLORS = Object.fromEntries(Object.entries(PALETTES).map(([name, packed]) => [name, finePalette(unpack(packed))]));

// Pixels between the 256 colors of a table. Red, green and blue are rounded one after the other, each making up for what
// the ones before lost along the palette, so that there are thousands of colors: bit stealing (Tyler et al. 1992).
function finePalette(rgb) {
  const channel = (i, c) => rgb[3 * Math.max(0, Math.min(255, i)) + c];
  const [color, order] = [[0, 0, 0], [0, 1, 2]];
  let slopes;
  return Uint32Array.from({ length: NUM_COLORS }, (_, i) => {
    const k = Math.min(254, Math.floor(i / STEPS));
    if (i % STEPS === 0) {
      slopes = color.map((_, c) => channel(k + 3, c) - channel(k - 2, c));
      order.sort((a, b) => Math.abs(slopes[b]) - Math.abs(slopes[a]));
    }
    let lost = 0;
    for (const c of order) {
      const exact = channel(k, c) + (i / STEPS - k) * (channel(k + 1, c) - channel(k, c));
      const shift = slopes[c] ? Math.max(-1, Math.min(1, lost / slopes[c])) : 0;
      color[c] = Math.max(0, Math.min(255, Math.round(exact + shift)));
      lost += (exact - color[c]) * slopes[c];
    }
    return (255 << 24) | (color[2] << 16) | (color[1] << 8) | color[0];
  });
}

function pixelCanvas(width, height, name) {
  return element("canvas", { width, height, class: name, "aria-hidden": "true" });
}

// bytes (height, width, channels), 1 or 3 channels, onto a canvas of that size; `gray` 0..1 desaturates it
function paintImage(canvas, bytes, channels, gray = canvas.painted?.gray ?? 0) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const next = channels === 3 ? 1 : 0; // offset of the next color's byte
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    const at = channels * i;
    const light = 0.2126 * bytes[at] + 0.7152 * bytes[at + next] + 0.0722 * bytes[at + 2 * next]; // as CSS's grayscale()
    for (let c = 0; c < 3; c++) {
      const value = bytes[at + c * next];
      picture.data[4 * i + c] = value + gray * (light - value);
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  canvas.painted = { bytes, channels, gray };
}

function colorOf(value, { colors, low, high }) {
  const position = high > low ? (value - low) / (high - low) : 0;
  return colors[Math.max(0, Math.min(colors.length - 1, Math.round(position * (colors.length - 1))))];
}

// The pixels that a canvas will show once `put`, row by row.
function pixelsOf(canvas) {
  canvas.picture ??= canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  return (canvas.pixels ??= new Uint32Array(canvas.picture.data.buffer));
}

const put = (canvas) => canvas.getContext("2d").putImageData(canvas.picture, 0, 0);

// One pixel per value, from `start` on; values outside low..high get the end colors, NaN is transparent.
function colorPixels(pixels, values, scale, start = 0) {
  for (let i = 0; i < values.length; i++) pixels[start + i] = Number.isFinite(values[i]) ? colorOf(values[i], scale) : 0;
}

function paintMap(canvas, values, scale) {
  colorPixels(pixelsOf(canvas), values, scale);
  put(canvas);
}

// A map over an image covers a share `strength` of each patch: its edge, and with 1 all of it. Nothing is mixed, so every
// color is either the map's, as in the legend, or the image's gray. The pixels are painted in gray, because a CSS filter
// would be recomputed in every frame.
function layOver(image, map, strength) {
  const { bytes, channels, gray } = image.painted;
  const target = Math.min(1, 2 * strength);
  if (gray !== target) paintImage(image, bytes, channels, target);
  if (map.strength === strength) return;
  map.strength = strength;
  coverPatches(map, strength);
}

// Leaves the middle of each patch of a map transparent, so that a share `strength` is covered.
function coverPatches(map, strength) {
  const edge = 50 - 50 * Math.sqrt(1 - strength); // % of the patch's side
  const bars = (angle) => `linear-gradient(${angle}deg, #000 ${edge}%, #0000 0 ${100 - edge}%, #000 0)`;
  map.style.maskImage = strength < 1 ? `${bars(0)}, ${bars(90)}` : "";
  map.style.maskSize = `${100 / map.width}% ${100 / map.height}%`;
}

function paintSwatch(swatch, value, scale) {
  const pixel = Number.isFinite(value) ? colorOf(value, scale) : 0;
  swatch.style.backgroundColor = `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255} / ${pixel >>> 24})`;
}

function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

// A color bar with labels at both ends and marks along it.
function makeLegend() {
  const parts = {
    title: element("span", { class: "legend-title" }),
    warning: element("span", { class: "legend-warning" }),
    marks: element("span", { class: "legend-marks" }),
    bar: pixelCanvas(NUM_COLORS, 1, "legend-bar"),
    low: element("span"),
    high: element("span"),
  };
  const ends = element("span", { class: "legend-ends" }, parts.low, parts.high);
  const scale = element("span", { class: "legend-scale" }, parts.marks, parts.bar, ends);
  return { ...parts, root: element("div", { class: "legend" }, element("span", {}, parts.title, " ", parts.warning), scale) };
}

// marks: [[position 0..1, text]]; low and high are the labels at the ends
function paintLegend(legend, { colors, title, warning = "", low, high, marks = [] }) {
  const texts = { title, warning, low, high };
  const painted = JSON.stringify([texts, marks]);
  if (painted === legend.painted && colors === legend.colors) return;
  Object.assign(legend, { painted, colors });
  paintMap(legend.bar, Float32Array.from({ length: NUM_COLORS }, (_, i) => i), { colors, low: 0, high: NUM_COLORS - 1 });
  for (const [part, text] of Object.entries(texts)) legend[part].textContent = text;
  const inside = marks.filter(([position]) => position >= 0 && position <= 1);
  legend.marks.replaceChildren(
    ...inside.flatMap(([position, text]) => {
      const tick = element("span", { class: "legend-tick" });
      const label = element("span", { class: "legend-mark" }, text);
      tick.style.left = `${100 * position}%`;
      label.style.left = `${100 * position}%`;
      label.style.transform = `translateX(-${100 * position}%)`;
      return [tick, label];
    }),
  );
}

const startOf = ({ low, high }, text) => (low > 0.005 * high ? `The scale starts at ${text(low)}, not at 0.` : "");

const PER_MAP_SCALE = "Per-map scale:";
const EXAGGERATED = "contrast exaggerated, colors are not comparable between maps";

// One scale for all maps, or with `own` per-map scales and a warning that they exaggerate; `highest` is the largest value.
function paintAttentionLegend(legend, texts) {
  const { colors, own, scale: [low, high], highest = low, uniform, uniformName, quantity = "Attention", text = shortNumber } = texts;
  const name = uniformName || `uniform 1/${Math.round(1 / uniform)}`;
  paintLegend(legend, {
    colors,
    title: own ? PER_MAP_SCALE : `${quantity}, one scale for all maps.`,
    warning: own ? EXAGGERATED : "",
    low: own ? "lowest in the map" : text(low),
    high: own ? "highest in the map" : `${highest > high * 1.001 ? "≥ " : ""}${text(high)}`,
    marks: !own && uniform > low && uniform < high ? [[(uniform - low) / (high - low), `${name} = ${text(uniform)}`]] : [],
  });
}

const shortNumber = (value) => (value === 0 ? "0" : value.toFixed(value < 0.1 ? 4 : 3).replace(/0$/, ""));

// The user's settings by component key: they survive reruns, other images and page changes.
const SETTINGS = new Map();

function settingsOf(key, start) {
  if (!SETTINGS.has(key)) SETTINGS.set(key, { ...start });
  return SETTINGS.get(key);
}

const COLORMAP_NAMES = Object.keys(COLORS).filter((name) => name !== "difference");
const OPTIONS = { colormap: COLORMAP_NAMES, overlay: Array.from({ length: 21 }, (_, i) => i / 20), grid: [true, false] };

// The same of a page's main component: they are also in the link to the page, if they differ from `start`. `options`
// has those of names that are not in OPTIONS.
function linkedSettings(key, start, options) {
  const linked = Object.entries({ ...OPTIONS, ...options }).filter(([name]) => name in start);
  const write = (settings) => {
    const text = (name) => (settings[name] === start[name] ? null : `${settings[name]}`);
    window.setLinkParams?.(Object.fromEntries(linked.map(([name]) => [name, text(name)])));
    return true;
  };
  if (!SETTINGS.has(key)) {
    const query = new URLSearchParams(location.search);
    const requested = linked.map(([name, values]) => [name, values.find((value) => `${value}` === query.get(name)) ?? start[name]]);
    const set = (settings, name, value) => write(Object.assign(settings, { [name]: value }));
    SETTINGS.set(key, new Proxy({ ...start, ...Object.fromEntries(requested) }, { set }));
  }
  write(SETTINGS.get(key));
  return SETTINGS.get(key);
}

// The user chooses among all but the diverging map of signed values.
function colorsControl(value, changed) {
  return selectControl("Colors", COLORMAP_NAMES.map((name) => [name, name]), value, changed);
}

// options: [[value, text]]
function selectControl(label, options, value, changed) {
  const select = element("select", { onchange: () => changed(select.value) });
  select.append(...options.map(([name, text]) => element("option", { value: name }, text)));
  select.value = value;
  return element("label", { class: "control" }, element("span", {}, label), select);
}

function sliderControl(label, value, changed) {
  const output = element("output", {}, percent(value));
  const slider = element("input", { type: "range", min: 0, max: 100, step: 5, value: Math.round(100 * value) });
  slider.addEventListener("input", () => {
    output.textContent = percent(slider.value / 100);
    changed(slider.value / 100);
  });
  return element("label", { class: "control" }, element("span", {}, label), slider, output);
}

function checkControl(label, checked, changed) {
  const box = element("input", { type: "checkbox", checked, onchange: () => changed(box.checked) });
  return element("label", { class: "control" }, box, element("span", {}, label));
}

const percent = (share) => `${Math.round(100 * share)}%`;

// The cleanup of a component: Streamlit also calls it when a newer call supersedes one, so only a component that is no
// longer on the page is disposed.
function onRemoval(root, dispose) {
  return () => root.isConnected || dispose();
}

// The full address of a path such as "/media/…" that this Streamlit server serves, under any base path: every
// page is directly below it.
function serverUrl(path) {
  return new URL(`.${path}`, document.baseURI).href;
}

// Any CSS color as [red, green, blue, alpha], 0..255 and 0..1; names such as "--st-text-color" are looked up.
const colorPixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(root, color) {
  colorPixel.clearRect(0, 0, 1, 1);
  colorPixel.fillStyle = color.startsWith("--") ? getComputedStyle(root).getPropertyValue(color).trim() : color;
  colorPixel.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = colorPixel.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

// Of sRGB, 0..255 each. At 0.179, black and white text have the same contrast.
function luminance([red, green, blue]) {
  const linear = (value) => (value <= 10.3 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

const tokenName = (token) => (token === 0 ? "CLS" : `p${token - 1}`);

const withinGrid = (index, grid) => Math.max(0, Math.min(grid - 1, index));

// The patch under the pointer, of `grid` × `grid` over the element that has the listener
function patchAt({ currentTarget, clientX, clientY }, grid) {
  const box = currentTarget.getBoundingClientRect();
  const cell = (share) => withinGrid(Math.floor(share * grid), grid);
  return cell((clientY - box.top) / box.height) * grid + cell((clientX - box.left) / box.width);
}

// The patch beside `patch` in the direction of an arrow key; null for other keys
function patchByKey({ key }, patch, grid) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  return step ? withinGrid(Math.floor(patch / grid) + step[0], grid) * grid + withinGrid((patch % grid) + step[1], grid) : null;
}

const hasModifier = (event) => event.altKey || event.ctrlKey || event.metaKey;

// One tab stop for many buttons in rows of `columns()`: arrow keys, Home and End move the focus among them. A click
// calls `pick` with the index of the button.
function roveFocus(container, buttons, columns, pick) {
  const indexOf = (event) => buttons().indexOf(event.target.closest("button"));
  container.addEventListener("click", (event) => indexOf(event) >= 0 && pick(indexOf(event)));
  container.addEventListener("focusin", (event) => {
    const focused = event.target.closest("button");
    if (!focused) return;
    for (const button of container.querySelectorAll("button[tabindex='0']")) button.tabIndex = -1;
    focused.tabIndex = 0;
  });
  container.addEventListener("keydown", (event) => {
    const [all, at] = [buttons(), indexOf(event)];
    if (at < 0 || hasModifier(event)) return;
    const width = columns();
    const last = all.length - 1;
    const below = Math.floor(at / width) < Math.floor(last / width) ? Math.min(at + width, last) : at;
    const targets = {
      ArrowLeft: Math.max(at - 1, 0),
      ArrowRight: Math.min(at + 1, last),
      ArrowUp: at >= width ? at - width : at,
      ArrowDown: below,
      Home: 0,
      End: last,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    all[targets[event.key]].focus();
  });
}
