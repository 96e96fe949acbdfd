// ---- A board of maps: one line per image, the image and then a cell per column: maps, scrub -----------------
// A cell's map may have any number of patches along a side, so models that cut images differently stand together.

const GAP = 8; // between cells, px, as in board.css
const LINE_GAP = 24;
const NAMES_WIDTH = 76; // of the names beside a strip

// columns: [{grid: patches along a side, captioned}]; images: unpacked (N, height, width, channels);
// layout: "rows" sets an image beside its maps, "strip" above them; open(index) follows a click, or null
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

// How many images stand side by side in `width` px and how large a cell is: a cell may shrink a little to let one
// more fit. The names of the columns stand in front, in a strip again at each new line.
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
  if (across !== board.across || !board.nameRows.length) placeNames(board, across);
}

function placeNames(board, across) {
  const { layout, lines } = board;
  for (const placed of board.nameRows) placed.remove();
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

// The names stand in front of the board, and where it is narrow above each picture.
function paintNames(board, names) {
  board.names = names;
  for (const row of board.nameRows) names.forEach((name, i) => setText(row.children[i], name));
  for (const line of board.lines) names.forEach((name, i) => setText(line.root.children[i].firstChild, name));
}

function paintImages(board, images) {
  const [, height, width, channels] = images.shape;
  const length = height * width * channels;
  board.lines.forEach((line, n) => {
    const bytes = images.subarray(n * length, (n + 1) * length);
    for (const canvas of [line.image.canvas, ...line.cells.map((cell) => cell.image)]) paintImage(canvas, bytes, channels);
  });
}

// captions: for each column of one line [text, correct]: true, false or null where there is nothing to judge;
// names: of the columns; a screen reader hears both
function paintCaptions(line, n, title, names, captions) {
  setText(line.image.caption, title);
  const spoken = [`image ${n + 1}${title ? `, ${title}` : ""}`];
  line.cells.forEach(({ caption }, i) => {
    const [text, correct] = captions[i] ?? ["", null];
    setText(caption, correct === null ? text : `${correct ? "✓" : "✗"} ${text}`);
    caption.classList.toggle("correct", correct === true);
    caption.classList.toggle("incorrect", correct === false);
    if (text) spoken.push(`${names[i]}: ${text}${correct === null ? "" : correct ? ", correct" : ", incorrect"}`);
  });
  line.root.setAttribute("aria-label", spoken.join("; "));
}

function setText(node, text) {
  if (node.textContent !== text) Object.assign(node, { textContent: text, title: text });
}

const signedNumber = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + shortNumber(Math.abs(value));
const shortNumber = (value) => (value === 0 ? "0" : value.toFixed(value < 0.1 ? 4 : 3).replace(/0$/, ""));

const scaleControl = (value, changed) =>
  selectControl("Scale", [["absolute", "absolute"], ["own", "per-map scale"]], value, changed);

// Colors from −maximum to +maximum around 0; `maximum` is a number, or values whose largest it is.
function signedScale(colors, maximum) {
  if (typeof maximum !== "number") maximum = Math.max(...rangeOf(maximum).map(Math.abs));
  return { colors, low: maximum ? -maximum : -1, high: maximum || 1 };
}

// A legend of such colors; `low` and `high` are the texts at its ends.
function paintSignedLegend(legend, { colors, title, own, low, high }) {
  const ends = own ? { low: "maximum less", high: "maximum more" } : { low, high };
  paintLegend(legend, { colors, title, ...ends, marks: [[0.5, "0"]] });
}
