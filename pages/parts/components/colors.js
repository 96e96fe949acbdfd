// Colors, canvases and legends: values -> pixels on one scale, and what the scale means

const STEPS = 16; // from one of the 256 colors of a table to the next
const NUM_COLORS = 255 * STEPS + 1;
const numLevels = (values) => (values instanceof Uint8Array ? 255 : 65535); // of a value in a row or map, see `quantized`

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
