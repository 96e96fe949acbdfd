// Colors of a share of 100%, on a light and on a dark background; a cell is blended by its share of the row.
const CORRECT = { light: [10, 98, 52], dark: [60, 190, 118] };
const INCORRECT = { light: [176, 24, 40], dark: [244, 92, 92] };

const NUMBER = new Intl.NumberFormat("en");

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".confusion");
  root.pick = (cell) => setTriggerValue("picked", cell);
  if (!root.box) start(root);
  const content = JSON.stringify([data.matrix, data.classes]);
  root.selected = data.selected && data.selected.join(); // as a button's value
  const background = rgba(root, "--st-background-color").slice(0, 3); // read before there is a table to lay out
  if (root.content !== content) build(root, data.classes, unpack(data.matrix));
  root.content = content;
  shade(root, background);
  mark(root);
}

function start(root) {
  root.box = element("div", { class: "box" });
  root.append(
    root.box,
    element("p", { class: "caption" }, "Shading: row-normalized."),
    element("p", { id: "keys", class: "hidden-text" }, "Arrow keys move, Enter selects the cell, Enter again clears the selection."),
  );
  const pick = (index) => {
    const { value } = root.cells[index].button;
    root.pick(value === root.selected ? [] : value.split(",").map(Number));
  };
  roveFocus(root.box, () => root.cells.map(({ button }) => button), () => root.num_classes, pick);
}

function build(root, classes, matrix) {
  const focused = (root.cells ?? []).findIndex(({ button }) => button === root.getRootNode().activeElement);
  const K = classes.length;
  root.num_classes = K;
  root.cells = [];
  const rows = classes.map((truth, i) => {
    const row = matrix.subarray(i * K, (i + 1) * K);
    const sum = row.reduce((total, number) => total + number, 0);
    const cells = classes.map((predicted, j) => {
      const share = sum ? row[j] / sum : 0;
      const label = `true ${truth}, predicted ${predicted}: ${NUMBER.format(row[j])} of ${NUMBER.format(sum)} (${(100 * share).toFixed(1)}%)`;
      const button = element(
        "button",
        { type: "button", value: `${i},${j}`, tabindex: -1, "aria-label": label, title: label },
        NUMBER.format(row[j]),
      );
      root.cells.push({ button, share, correct: i === j });
      return element("td", {}, button);
    });
    return element("tr", {}, name("row", truth), ...cells, element("td", { class: "sum" }, NUMBER.format(sum)));
  });
  const head = [
    element(
      "tr",
      { class: "axes" },
      element("th", { class: "corner", rowspan: 2 }, element("span", {}, "true ↓")),
      element("th", { class: "axis", colspan: K }, element("span", {}, "predicted →")),
      element("th", { class: "sum", rowspan: 2, scope: "col" }, "sum"),
    ),
    element("tr", {}, ...classes.map((predicted) => name("col", predicted))),
  ];
  const table = element(
    "table",
    { "aria-label": "confusion matrix, rows true, columns predicted", "aria-describedby": "keys" },
    element("thead", {}, ...head),
    element("tbody", {}, ...rows),
  );
  table.className = K > 20 ? "many" : K > 6 ? "some" : "few";
  root.box.replaceChildren(table);
  root.cells[Math.max(focused, 0)]?.button.setAttribute("tabindex", 0);
  if (focused >= 0) root.cells[Math.min(focused, root.cells.length - 1)].button.focus();
}

function name(scope, text) {
  return element("th", { scope, class: scope, title: text }, element("span", {}, text));
}

function mark({ cells, selected }) {
  for (const { button } of cells) button.setAttribute("aria-pressed", button.value === selected);
}

// Background by share, and the text in black or white, whichever has more contrast (at least 4.5:1).
function shade(root, background) {
  const theme = luminance(background) < 0.18 ? "dark" : "light";
  for (const { button, share, correct } of root.cells) {
    const strength = share ? 0.05 + 0.95 * share ** 0.7 : 0;
    const end = (correct ? CORRECT : INCORRECT)[theme];
    const color = end.map((part, i) => Math.round(part * strength + background[i] * (1 - strength)));
    button.style.backgroundColor = `rgb(${color})`;
    if (!share) button.style.color = "var(--st-gray-text-color)";
    else button.style.color = luminance(color) > 0.179 ? "#000" : "#fff";
  }
}
