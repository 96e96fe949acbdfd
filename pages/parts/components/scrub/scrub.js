// Attention over training. A slider through F frames updates B images, their maps and all curves in the browser.
// The data of a run are its maps at M checkpoints: uint16 (M, B, S, P) with a scale per map (M, B, S), as in `quantized`.

const SPEEDS = [2, 5, 10, 30]; // frames per second
const REST = 1000; // milliseconds
const isMotionReduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const LINKED = { view: ["map", "specific"], scale: ["absolute", "own"] }; // settings in the link besides colors and overlay
const ONE_LINE = 8; // characters of a class name that fit under a map with the probability, so that captions keep their height

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".scrub");
  const view = (root.view ??= { root });
  view.open = (image) => setTriggerValue("opened", { image, frame: view.frame });
  const before = view.data;
  read(view, data);
  const { runs, columns, images } = view;
  const shape = JSON.stringify([images.shape, columns.map((column) => [column.grid, column.captioned]), data.titles.length > 0]);
  if (shape !== view.shape) build(Object.assign(view, { shape, runs }));
  if (data.images.base64 !== view.painted) paintImages(view.board, images);
  view.painted = data.images.base64;
  buildCharts(view);
  paintNames(view.board, ["image", ...columns.map((column) => column.name)]);
  paintLegends(view);
  show(view, frameToShow(view, before));
  return onRemoval(root, () => dispose(view));
}

function read(view, data) {
  view.data = data;
  view.images = unpack(data.images);
  view.settings = linkedSettings(data.key, isMotionReduced() ? { ...data.settings, speed: "2" } : data.settings, LINKED);
  view.runs = data.runs.map((run) => {
    const [values, scales, average] = [run.values, run.scales, run.average].map(unpack);
    const [, numImages, numMaps, length] = values.shape;
    const [predicted, confidence] = [run.predicted, run.confidence].map((values) => values && unpack(values));
    return { ...run, values, scales, average, predicted, confidence, numImages, numMaps, length };
  });
  view.columns = data.columns.map((column) => {
    const run = view.runs[column.run];
    return { ...column, run, grid: Math.round(Math.sqrt(run.length)), values: new Float32Array(run.length) };
  });
  if (data.difference) {
    const { columns, grid, patches, factors } = data.difference;
    const sides = columns.map((index, i) => ({ column: view.columns[index], patches: unpack(patches[i]), factor: factors[i] }));
    view.columns.push({ name: "difference", grid, sides, captioned: false, values: new Float32Array(grid ** 2) });
  }
  view.ranges = { map: rangesOf(view, false), specific: rangesOf(view, true) };
}

const lastFrame = (view) => view.data.frames.length - 1;

// The frame in the URL, or the start frame, if the page opens, another run or epoch is selected, or the user goes
// back; otherwise the current checkpoint, whose frame index may have changed.
function frameToShow(view, before) {
  const ids = (data) => data?.runs.map((run) => run.id).join();
  const { frames, start } = view.data;
  if (ids(before) !== ids(view.data)) return frameOfUrl(view);
  if (before.frames[before.start].checkpoint !== frames[start].checkpoint) return start;
  const sameFrame = frames.findIndex(({ checkpoint }) => checkpoint === before.frames[view.frame].checkpoint);
  return sameFrame >= 0 ? sameFrame : start;
}

function frameOfUrl(view) {
  const requested = new URLSearchParams(location.search).get("checkpoint");
  const index = view.data.frames.findIndex(({ checkpoint }) => checkpoint === requested);
  return index >= 0 ? index : view.data.start;
}

// The checkpoint is kept in the URL, for links and reloads, without a request to the server.
function writeUrl({ frame, data: { frames, start } }) {
  window.setLinkParams?.({ checkpoint: frame === start ? null : frames[frame].checkpoint });
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
  const target = Math.max(0, Math.min(lastFrame(view), frame));
  if (target !== view.frame) show(view, target);
}

// How long a frame is shown while playing, in milliseconds: longer at the end of the first epoch and of the last.
function duration({ data: { frames }, settings }, frame) {
  const isRest = frame === firstEpoch(frames) || frame === frames.length - 1;
  return Math.max(isRest ? REST : 0, 1000 / settings.speed);
}

const firstEpoch = (frames) => frames.findIndex(({ checkpoint }) => checkpoint === "1");

// Plays in a loop; once where the user prefers reduced motion.
function play(view) {
  const last = lastFrame(view);
  if (view.frame === last) show(view, 0);
  view.button.setAttribute("aria-pressed", "true");
  let since = performance.now();
  const tick = (now) => {
    let frame = view.frame;
    for (; now - since >= duration(view, frame); frame = frame === last ? 0 : frame + 1) {
      if (frame === last && isMotionReduced()) return pause(view);
      since += duration(view, frame);
    }
    if (frame !== view.frame) show(view, frame);
    view.playing = requestAnimationFrame(tick);
  };
  view.playing = requestAnimationFrame(tick);
}

function pause(view) {
  cancelAnimationFrame(view.playing);
  view.playing = null;
  view.button.setAttribute("aria-pressed", "false");
}

function dispose(view) {
  pause(view);
  view.resizeObserver.disconnect();
  removeEventListener("popstate", view.onPopState);
}

function build(view) {
  const { images, columns, data, root } = view;
  if (view.board) dispose(view);
  const isSingle = images.shape[0] === 1; // drawn large, before the curves
  view.legend = makeLegend();
  view.differenceLegend = makeLegend();
  view.charts = element("div", { class: "charts" });
  view.key = element("div", { class: "key", "aria-hidden": "true" });
  const titled = data.titles.length > 0;
  view.board = makeBoard({ images, columns, titled, layout: "rows", size: isSingle ? 200 : 96, open: (index) => view.open(index) });
  view.painted = view.charted = null;
  const legends = element("div", { class: "legends" }, view.legend.root, view.differenceLegend.root);
  const above = element("div", { class: "above" }, legends, buildControls(view));
  view.board.root.classList.toggle("two-lines", data.classes.some((name) => name.length > ONE_LINE));
  const [curves, maps] = [[view.charts, view.key], [above, view.board.root]];
  root.replaceChildren(buildPlayer(view), ...(isSingle ? [...maps.reverse(), ...curves] : [...curves, ...maps]));
  view.resizeObserver = arrangeAlways(view.board, root);
  view.onPopState = () => jump(view, frameOfUrl(view));
  addEventListener("popstate", view.onPopState);
}

function buildPlayer(view) {
  const sign = element("span", { class: "sign", "aria-hidden": "true" });
  const toggle = () => (view.playing ? pause(view) : play(view));
  const title = "Space: play or pause. ← →: previous and next checkpoint. Home, End: first and last.";
  const attributes = { type: "button", class: "button play", "aria-pressed": "false", title, onclick: toggle };
  view.button = element("button", attributes, sign, "Play");
  const move = () => jump(view, Number(view.slider.value));
  view.slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Checkpoint", oninput: move });
  view.slider.max = lastFrame(view);
  view.checkpoint = element("output", { class: "checkpoint" });
  const speeds = SPEEDS.map((speed) => [String(speed), `${speed} frames/s`]);
  const speed = selectControl("Speed", speeds, view.settings.speed, (value) => (view.settings.speed = value));
  const player = element("div", { class: "player" }, view.button, view.slider, view.checkpoint, speed);
  player.addEventListener("keydown", (event) => {
    if (event.target.matches("select") || hasModifier(event)) return;
    const targets = { ArrowLeft: view.frame - 1, ArrowRight: view.frame + 1, Home: 0, End: lastFrame(view) };
    if (event.key === " ") toggle();
    else if (event.key in targets) jump(view, targets[event.key]);
    else return;
    event.preventDefault(); // of the button and the slider, which know some of these keys
  });
  return player;
}

function buildControls(view) {
  const views = [["map", "attention"], ["specific", "minus the average map"]];
  const repaint = () => {
    paintLegends(view);
    paintMaps(view);
  };
  return mapControls(view, repaint, (set) => selectControl("Show", views, view.settings.view, set("view")));
}
