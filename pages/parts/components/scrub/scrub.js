// Attention over training. A slider through F frames moves B images, their maps and all curves, in the browser alone.
// Of each run the maps at M checkpoints lie here: bytes (M, B, S, P) with a scale a map (M, B, S), as `quantised` gives them.

const SPEEDS = [2, 5, 10, 30]; // frames a second
const ONE_LINE = 8; // letters of a class that fit under a map with the probability; no caption may change its height
const URL_DELAY_MS = 300; // a browser takes a few hundred new addresses a minute at most

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".scrub");
  const view = (root.view ??= { root });
  view.open = (image) => setTriggerValue("opened", { image, frame: view.frame });
  const before = view.data;
  read(view, data);
  const { runs, columns, images } = view;
  const shape = JSON.stringify([images.shape, columns.map((one) => [one.grid, one.captioned]), data.titles.length > 0]);
  if (shape !== view.shape) build(Object.assign(view, { shape, runs }));
  if (data.images.base64 !== view.painted) paintImages(view.board, images);
  view.painted = data.images.base64;
  buildCharts(view);
  paintNames(view.board, ["image", ...columns.map((one) => one.name)]);
  paintLegends(view);
  show(view, frameToShow(view, before));
  return onRemoval(root, () => takeDown(view));
}

function read(view, data) {
  view.data = data;
  view.images = unpack(data.images);
  view.colours ??= unpackColours(data.palettes);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  view.settings = settingsOf(data.key, calm ? { ...data.settings, speed: "2" } : data.settings);
  view.runs = data.runs.map((run) => {
    const [values, scales, average] = [run.values, run.scales, run.average].map(unpack);
    const [, numImages, numMaps, length] = values.shape;
    const [predicted, confidence] = [run.predicted, run.confidence].map(unpack);
    return { ...run, values, scales, average, predicted, confidence, numImages, numMaps, length };
  });
  view.columns = data.columns.map((column) => {
    const run = view.runs[column.run];
    return { ...column, run, grid: Math.round(Math.sqrt(run.length)), shown: new Float32Array(run.length) };
  });
  if (data.difference) {
    const { columns, grid, patches, factors } = data.difference;
    const sides = columns.map((place, i) => ({ column: view.columns[place], patches: unpack(patches[i]), factor: factors[i] }));
    view.columns.push({ name: "difference", grid, sides, captioned: false, shown: new Float32Array(grid ** 2) });
  }
  view.ranges = { map: rangesOf(view, false), specific: rangesOf(view, true) };
}

// ---- frames ---------------------------------------------------------------------------------------------

const lastFrame = (view) => view.data.frames.length - 1;

// The frame of the URL, or of the start, when the page opens, when a run or an epoch was picked and when a person
// goes back; else the checkpoint that was shown, which may have another place among more frames.
function frameToShow(view, before) {
  const ids = (data) => data?.runs.map((run) => run.id).join();
  const { frames, start } = view.data;
  if (ids(before) !== ids(view.data)) return frameOfUrl(view);
  if (before.frames[before.start].checkpoint !== frames[start].checkpoint) return start;
  const again = frames.findIndex(({ checkpoint }) => checkpoint === before.frames[view.frame].checkpoint);
  return again >= 0 ? again : start;
}

function frameOfUrl(view) {
  const wanted = new URLSearchParams(location.search).get("checkpoint");
  const found = view.data.frames.findIndex(({ checkpoint }) => checkpoint === wanted);
  return found >= 0 ? found : view.data.start;
}

// The address names the checkpoint, so that a link or a reload brings it back; the server is not asked.
function writeUrl(view) {
  clearTimeout(view.writing);
  view.writing = setTimeout(() => {
    if (!view.root.isConnected) return;
    const address = new URL(location.href);
    const { frames, start } = view.data;
    if (view.frame === start) address.searchParams.delete("checkpoint");
    else address.searchParams.set("checkpoint", frames[view.frame].checkpoint);
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }, URL_DELAY_MS);
}

function show(view, frame) {
  view.frame = frame;
  const { text } = view.data.frames[frame];
  view.slider.max = lastFrame(view);
  view.slider.value = frame;
  view.slider.setAttribute("aria-valuetext", text);
  view.checkpoint.textContent = text;
  paintMarks(view);
  paintTexts(view);
  paintMaps(view);
  writeUrl(view);
}

function jump(view, frame) {
  pause(view);
  if (frame !== view.frame) show(view, Math.max(0, Math.min(lastFrame(view), frame)));
}

function play(view) {
  if (view.frame === lastFrame(view)) show(view, 0);
  view.button.setAttribute("aria-pressed", "true");
  let from = view.frame;
  let began = performance.now();
  let speed = view.settings.speed;
  const tick = (now) => {
    if (speed !== view.settings.speed) [from, began, speed] = [view.frame, now, view.settings.speed];
    const frame = Math.min(lastFrame(view), from + Math.max(0, Math.floor(((now - began) / 1000) * speed)));
    if (frame !== view.frame) show(view, frame);
    if (frame === lastFrame(view)) pause(view);
    else view.playing = requestAnimationFrame(tick);
  };
  view.playing = requestAnimationFrame(tick);
}

function pause(view) {
  cancelAnimationFrame(view.playing);
  view.playing = null;
  view.button.setAttribute("aria-pressed", "false");
}

function takeDown(view) {
  pause(view);
  clearTimeout(view.writing);
  view.resized.disconnect();
  removeEventListener("popstate", view.popped);
}

// ---- building -------------------------------------------------------------------------------------------

function build(view) {
  const { images, columns, data, root } = view;
  if (view.board) takeDown(view);
  view.legend = makeLegend();
  view.differenceLegend = makeLegend();
  view.charts = element("div", { class: "charts" });
  view.key = element("div", { class: "key", "aria-hidden": "true" });
  const titled = data.titles.length > 0;
  view.board = makeBoard({ images, columns, titled, layout: "rows", size: 96, open: (index) => view.open(index) });
  view.painted = view.charted = null;
  const legends = element("div", { class: "legends" }, view.legend.root, view.differenceLegend.root);
  const above = element("div", { class: "above" }, legends, buildControls(view));
  view.board.root.classList.toggle("two-lines", data.classes.some((name) => name.length > ONE_LINE));
  root.replaceChildren(buildPlayer(view), view.charts, view.key, above, view.board.root);
  view.resized = new ResizeObserver(() => arrangeBoard(view.board, root.clientWidth));
  view.resized.observe(root);
  arrangeBoard(view.board, root.clientWidth);
  view.popped = () => jump(view, frameOfUrl(view));
  addEventListener("popstate", view.popped);
}

function buildPlayer(view) {
  const sign = element("span", { class: "sign", "aria-hidden": "true" });
  const toggle = () => (view.playing ? pause(view) : play(view));
  view.button = element("button", { type: "button", class: "play", "aria-pressed": "false", onclick: toggle }, sign, "Play");
  const move = () => jump(view, Number(view.slider.value));
  view.slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Checkpoint", oninput: move });
  view.slider.max = lastFrame(view);
  view.checkpoint = element("output", { class: "checkpoint" });
  const speeds = SPEEDS.map((speed) => [String(speed), `${speed} a second`]);
  const speed = selectControl("Speed", speeds, view.settings.speed, (value) => (view.settings.speed = value));
  return element("div", { class: "player" }, view.button, view.slider, view.checkpoint, speed);
}

function buildControls(view) {
  const set = (name) => (value) => {
    view.settings[name] = value;
    paintLegends(view);
    paintMaps(view);
  };
  const { view: what, scale, colormap, overlay } = view.settings;
  const views = [["map", "attention"], ["specific", "beyond the average map"]];
  return element(
    "div",
    { class: "controls" },
    selectControl("Show", views, what, set("view")),
    sliderControl("Overlay", overlay, set("overlay")),
    scaleControl(scale, set("scale")),
    coloursControl(colormap, set("colormap")),
  );
}

// ---- curves ---------------------------------------------------------------------------------------------

function buildCharts(view) {
  const sent = JSON.stringify([view.data.charts, view.data.frames]);
  if (sent === view.charted) return;
  view.charted = sent;
  view.lines = view.data.charts.map((chart) => chart.lines.map((line) => ({ ...line, values: unpack(line.values) })));
  view.marks = view.data.charts.map((chart, i) => buildChart(view, chart, view.lines[i]));
  view.charts.replaceChildren(...view.marks.map((mark) => mark.root));
  view.key.replaceChildren(...view.data.legend.map(([name, colour]) => colouredText(name, colour)));
}

// A frame is a step to the right, so that the curves stand under each other and the first epoch has room.
function buildChart(view, { title, help, digits, unit, numbered }, lines) {
  const { frames } = view.data;
  const width = Math.max(1, lastFrame(view));
  const finite = lines.flatMap(({ values }) => [...values].filter(Number.isFinite));
  const [low, high] = rangeOf(finite);
  const span = high - low || 1;
  const place = (value) => 1 - (value - low) / span;
  const drawing = svgElement("svg", { viewBox: `0 0 ${width} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const firstEpoch = frames.findIndex(({ checkpoint }) => checkpoint === "1");
  const upright = (x, name) => svgElement("line", { x1: x, x2: x, y1: 0, y2: 1, class: name });
  if (firstEpoch > 1) drawing.append(upright(firstEpoch, "first-epoch"));
  for (const { colour, values } of [...lines].reverse()) {
    const points = [...values].flatMap((value, x) => (Number.isFinite(value) ? [`${x},${place(value)}`] : []));
    const line = svgElement("polyline", { points: points.join(" ") });
    line.style.stroke = colour;
    drawing.append(line);
  }
  const mark = upright(0, "mark");
  drawing.append(mark);
  const numbers = lines.slice(0, numbered).map(({ name, colour }) => {
    const number = colouredText("", colour);
    Object.assign(number, { className: "number", title: name });
    return number;
  });
  const limit = (value) => `${value.toFixed(digits)}${unit}`;
  const plot = element(
    "div",
    { class: "plot", role: "img" },
    drawing,
    element("span", { class: "limit high" }, limit(high)),
    element("span", { class: "limit low" }, limit(low)),
  );
  const ends = lines.map(({ name, values }) => `${name} ${valueAt(values, 0, limit)} to ${valueAt(values, width, limit)}`);
  plot.setAttribute("aria-label", `${title} over training: ${ends.join("; ")}`);
  jumpByPointer(view, plot);
  const named = element("span", { class: "chart-name", title: help || null }, title);
  const epochs = element("span", { class: "epochs", "aria-hidden": "true" });
  for (const [x, text] of [[0, "0"], [firstEpoch, "1"], [width, frames[lastFrame(view)].checkpoint]]) {
    if (x < 0 || (x === firstEpoch && (x < 0.06 * width || x > 0.9 * width))) continue;
    const label = element("span", {}, text);
    label.style.left = `${(100 * x) / width}%`;
    label.style.transform = `translateX(-${(100 * x) / width}%)`;
    epochs.append(label);
  }
  const root = element("div", { class: "chart" }, element("div", { class: "chart-head" }, named, ...numbers), plot, epochs);
  return { root, mark, numbers, limit };
}

// Underlined in the colour of its curve
function colouredText(text, colour) {
  const made = element("span", {}, text);
  made.style.borderColor = colour;
  return made;
}

// The value at a frame, or the last one before it: loss and accuracy are known once an epoch.
function valueAt(values, frame, write) {
  for (let x = Math.min(frame, values.length - 1); x >= 0; x--) if (Number.isFinite(values[x])) return write(values[x]);
  return "–";
}

function jumpByPointer(view, plot) {
  const toPointer = (event) => {
    const box = plot.querySelector("svg").getBoundingClientRect();
    jump(view, Math.round(((event.clientX - box.x) / box.width) * lastFrame(view)));
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    toPointer(event);
  });
  plot.addEventListener("pointermove", (event) => event.buttons && toPointer(event));
}

function paintMarks(view) {
  view.marks.forEach(({ mark, numbers, limit }, i) => {
    mark.setAttribute("x1", view.frame);
    mark.setAttribute("x2", view.frame);
    numbers.forEach((number, j) => (number.textContent = valueAt(view.lines[i][j].values, view.frame, limit)));
  });
}

// ---- maps -----------------------------------------------------------------------------------------------

const momentOf = ({ run, at }, frame) => at ?? Math.max(0, run.at[frame]);

function paintTexts(view) {
  const { titles, labels, classes } = view.data;
  const names = view.columns.map((column) => column.name);
  view.board.lines.forEach((line, n) => {
    const captions = view.columns.map((column) => {
      if (!column.captioned) return ["", null];
      const place = momentOf(column, view.frame) * column.run.numImages + n;
      const said = column.run.predicted[place];
      return [`${classes[said]} ${Math.round(100 * column.run.confidence[place])}%`, said === labels[n]];
    });
    paintCaptions(line, n, titles[n] ?? "", names, captions);
  });
}

// One map of image n at a checkpoint into `into`; the specific part is what it has beyond the average of many images.
function fill(into, { values, scales, average, numImages, numMaps, length, times }, map, checkpoint, n, specific) {
  const place = (checkpoint * numImages + n) * numMaps + map;
  const step = (scales[place] / 255) * times;
  const mean = (checkpoint * numMaps + map) * length;
  for (let j = 0; j < length; j++) {
    into[j] = values[place * length + j] * step - (specific ? average[mean + j] * times : 0);
  }
}

// Cell by cell of a grid that both maps fit; of each the patch that covers the cell
function subtract(into, [plus, minus]) {
  const at = ({ column, patches, factor }, cell) => column.shown[patches[cell]] * factor;
  for (let cell = 0; cell < into.length; cell++) into[cell] = at(plus, cell) - at(minus, cell);
}

function fillLine(view, frame, n, specific) {
  for (const column of view.columns) {
    if (column.sides) subtract(column.shown, column.sides);
    else fill(column.shown, column.run, column.map, momentOf(column, frame), n, specific);
  }
}

// The largest size of what any frame shows, of the maps and of the difference: a legend must not move with the slider.
function rangesOf(view, specific) {
  const most = { map: 0, difference: 0 };
  for (let frame = 0; frame <= lastFrame(view); frame++) {
    for (let n = 0; n < view.images.shape[0]; n++) {
      fillLine(view, frame, n, specific);
      for (const column of view.columns) {
        const name = column.sides ? "difference" : "map";
        for (const value of column.shown) if (Math.abs(value) > most[name]) most[name] = Math.abs(value);
      }
    }
  }
  return most;
}

function paintMaps(view) {
  const { view: what, overlay } = view.settings;
  view.board.lines.forEach((line, n) => {
    fillLine(view, view.frame, n, what === "specific");
    line.cells.forEach((cell, i) => {
      paintMap(cell.map, view.columns[i].shown, scaleOf(view, view.columns[i]));
      layOver(cell.image, cell.map, overlay);
    });
  });
}

function scaleOf(view, column) {
  const { view: what, scale, colormap } = view.settings;
  const own = scale === "own";
  const [low, high] = own ? rangeOf(column.shown) : view.data.scale;
  if (column.sides || what === "specific") return signedScale(view.colours.difference, own ? column.shown : high);
  return { colours: view.colours[colormap], low, high };
}

function paintLegends(view) {
  const { view: what, scale, colormap } = view.settings;
  const { difference, numMeasured } = view.data;
  const own = scale === "own";
  const high = view.data.scale[1];
  const over = (most) => (most > high * 1.001 ? "≥ " : "");
  const signed = (most) => {
    const [less, more] = view.runs[1] ? [`−${times(high)}`, `+${times(high)}`] : [-high, high].map(signedNumber);
    return { colours: view.colours.difference, own, low: over(most).replace("≥", "≤") + less, high: over(most) + more };
  };
  const unit = view.runs[1] ? " In multiples of each run's uniform attention." : "";
  if (what === "specific") {
    const title = `Map − average map of ${numMeasured} test images. Blue is less, red is more.${unit}`;
    paintSignedLegend(view.legend, { ...signed(view.ranges.specific.map), title });
  } else paintMapLegend(view, view.colours[colormap], own, high, over(view.ranges.map.map));
  view.differenceLegend.root.hidden = !difference;
  if (!difference) return;
  const { grid } = difference;
  const [plus, minus] = difference.columns.map((place) => view.columns[place]);
  const alike = plus.grid === grid && minus.grid === grid;
  const common = ` In multiples of 1/${grid ** 2 + 1}, both on ${grid}×${grid} cells: each patch's attention is divided over the pixels it covers.`;
  const title = `Difference: ${plus.name} − ${minus.name}. Blue is less, red is more.${alike ? unit : common}`;
  paintSignedLegend(view.differenceLegend, { ...signed(view.ranges[what].difference), title });
}

const times = (value) => `${value.toFixed(1)}×`;

// Two runs that cut images differently share multiples of uniform, for their 1/N differ.
function paintMapLegend(view, colours, own, high, over) {
  const [first, second] = view.runs.map((run) => run.numTokens);
  if (second && !own) {
    const title = `Attention in multiples of uniform, one scale for both runs. 1× is 1/${first} in the first run, 1/${second} in the second.`;
    const marks = [[1 / high, "uniform 1×"]];
    return paintLegend(view.legend, { colours, title, low: "0", high: over + times(high), marks });
  }
  paintAttentionLegend(view.legend, {
    colours,
    own,
    low: 0,
    high,
    lowText: own ? "lowest in the map" : "0",
    highText: own ? "highest in the map" : over + shortNumber(high),
    uniform: own ? NaN : 1 / first,
    uniformText: shortNumber(1 / first),
  });
}
