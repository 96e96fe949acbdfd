// ---- A board of maps: a line per image, which has the image and a cell per column: maps, scrub ----------------
// Cells may have different numbers of patches along a side, so that models with different grids can be compared.

const GAP = 8; // between cells, px, as in board.css
const LINE_GAP = 24;
const NAMES_WIDTH = 76; // of the names beside a strip

// columns: [{grid: patches along a side, captioned}]; images: unpacked (N, height, width, channels);
// layout: "rows" places an image beside its maps, "strip" above them; open(index) is called on a click, or null
function makeBoard({ images, columns, titled, layout, size, open }) {
  const lines = Array.from({ length: images.shape[0] }, (_, n) => makeLine(images.shape, columns, titled, open && (() => open(n))));
  const root = element("div", { class: `board ${layout}` }, ...lines.map((line) => line.root));
  root.style.setProperty("--cells", columns.length + 1);
  return { root, lines, layout, size, numCells: columns.length + 1, nameRows: [], names: [] };
}

function makeLine([, height, width], columns, titled, open) {
  const caption = () => element("span", { class: "caption" });
  const image = { canvas: pixelCanvas(width, height), caption: caption() };
  const cells = columns.map(({ grid }) => ({
    image: pixelCanvas(width, height),
    map: pixelCanvas(grid, grid),
    caption: caption(),
  }));
  const cell = (canvases, caption, captioned) => {
    const stack = element("span", { class: "stack" }, ...canvases);
    return element("span", { class: "cell" }, element("span", { class: "cell-name" }), stack, captioned ? caption : null);
  };
  const children = [
    cell([image.canvas], image.caption, titled),
    ...cells.map(({ image, map, caption }, i) => cell([image, map], caption, columns[i].captioned)),
  ];
  const root = open
    ? element("button", { type: "button", class: "line", onclick: open }, ...children)
    : element("div", { class: "line", role: "img" }, ...children);
  return { root, image, cells };
}

// Sets how many images are side by side in `width` px and how large a cell is: cells may shrink a little to fit one
// more. The column names come first, in a strip again at each new line.
function arrangeBoard(board, width) {
  const strip = board.layout === "strip";
  const { size, lines } = board;
  const perLine = strip ? 1 : board.numCells;
  const gap = strip ? GAP : LINE_GAP;
  const room = width - (strip ? NAMES_WIDTH : 0) + gap;
  const lineWidth = (cell) => perLine * (cell + GAP) - GAP + gap;
  const across = Math.max(1, Math.min(lines.length, Math.floor(room / lineWidth(0.8 * size))));
  const fitting = (room / across - gap + GAP) / perLine - GAP;
  const narrow = fitting < 0.8 * size;
  board.root.style.setProperty("--size", `${narrow ? size : Math.min(size, 8 * Math.floor(fitting / 8))}px`);
  board.root.style.setProperty("--across", across);
  board.root.classList.toggle("narrow", narrow);
  if (across !== board.across || !board.nameRows.length) insertNames(board, across);
}

// Now and whenever the width of `container` changes; returns the observer.
function arrangeAlways(board, container) {
  const arrange = () => arrangeBoard(board, container.clientWidth);
  const observer = new ResizeObserver(arrange);
  observer.observe(container);
  arrange();
  return observer;
}

function insertNames(board, across) {
  const { layout, lines } = board;
  for (const row of board.nameRows) row.remove();
  const starts = layout === "strip" ? lines.filter((_, i) => i % across === 0) : Array(across).fill(lines[0]);
  board.across = across;
  board.nameRows = starts.map((line) => {
    const cells = Array.from({ length: board.numCells }, () => element("span"));
    const row = element("div", { class: "names", "aria-hidden": "true" }, ...cells);
    line.root.before(row);
    return row;
  });
  paintNames(board, board.names);
}

// The names are in front of the board, or above each picture if it is narrow.
function paintNames(board, names) {
  board.names = names;
  for (const row of board.nameRows) names.forEach((name, i) => setText(row.children[i], name, true));
  for (const line of board.lines) names.forEach((name, i) => setText(line.root.children[i].firstChild, name, true));
}

function paintImages(board, images) {
  const [, height, width, channels] = images.shape;
  const length = height * width * channels;
  board.lines.forEach((line, n) => {
    const bytes = images.subarray(n * length, (n + 1) * length);
    for (const canvas of [line.image.canvas, ...line.cells.map((cell) => cell.image)]) paintImage(canvas, bytes, channels);
  });
}

// captions: for each column of one line [text, correct]: true, false, or null if neither;
// names: of the columns; screen readers get both
function paintCaptions(line, n, title, names, captions) {
  setText(line.image.caption, title, true);
  const label = [`image ${n + 1}${title ? `, ${title}` : ""}`];
  line.cells.forEach(({ caption }, i) => {
    const [text, correct] = captions[i] ?? ["", null];
    setText(caption, correct === null ? text : `${correct ? "✓" : "✗"} ${text}`, true);
    caption.classList.toggle("correct", correct === true);
    caption.classList.toggle("incorrect", correct === false);
    if (text) label.push(`${names[i]}: ${text}${correct === null ? "" : correct ? ", correct" : ", incorrect"}`);
  });
  line.root.setAttribute("aria-label", label.join("; "));
}

const signedNumber = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + shortNumber(Math.abs(value));

// Overlay, scale and colors, after `first`; `repaint` is called after a change.
function mapControls({ settings }, repaint, ...first) {
  const set = (name) => (value) => {
    settings[name] = value;
    repaint();
  };
  const scales = [["absolute", "absolute"], ["own", "per-map scale"]];
  return element(
    "div",
    { class: "controls" },
    ...first.map((control) => control(set)),
    sliderControl("Overlay", settings.overlay, set("overlay")),
    selectControl("Scale", scales, settings.scale, set("scale")),
    colorsControl(settings.colormap, set("colormap")),
  );
}
