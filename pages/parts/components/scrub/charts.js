// The curves above the maps: one chart per metric, with a mark at the frame.

function buildCharts(view) {
  const sent = JSON.stringify([view.data.charts, view.data.frames]);
  if (sent === view.charted) return;
  view.charted = sent;
  view.lines = view.data.charts.map((chart) => chart.lines.map((line) => ({ ...line, values: unpack(line.values) })));
  view.marks = view.data.charts.map((chart, i) => buildChart(view, chart, view.lines[i]));
  view.charts.replaceChildren(...view.marks.map((mark) => mark.root));
  view.key.replaceChildren(...view.data.legend.map(([name, color]) => coloredText(name, color)));
}

// Frames are evenly spaced, so that the charts are aligned and the first epoch is visible.
function buildChart(view, { title, help, digits, unit, numbered }, lines) {
  const { frames } = view.data;
  const width = Math.max(1, lastFrame(view));
  const finite = lines.flatMap(({ values }) => [...values].filter(Number.isFinite));
  const [low, high] = rangeOf(finite);
  const span = high - low || 1;
  const height = (value) => 1 - (value - low) / span;
  const drawing = svgElement("svg", { viewBox: `0 0 ${width} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const first = firstEpoch(frames);
  const upright = (x, name) => svgElement("line", { x1: x, x2: x, y1: 0, y2: 1, class: name });
  if (first > 1) drawing.append(upright(first, "first-epoch"));
  for (const { color, values } of [...lines].reverse()) {
    const points = [...values].flatMap((value, x) => (Number.isFinite(value) ? [`${x},${height(value)}`] : []));
    const line = svgElement("polyline", { points: points.join(" ") });
    line.style.stroke = color;
    drawing.append(line);
  }
  const mark = upright(0, "mark");
  drawing.append(mark);
  const numbers = lines.slice(0, numbered).map(({ name, color }) => {
    const number = coloredText("", color);
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
  for (const [x, text] of [[0, "0"], [first, "1"], [width, frames[lastFrame(view)].checkpoint]]) {
    if (x < 0 || (x === first && (x < 0.06 * width || x > 0.9 * width))) continue;
    const label = element("span", {}, text);
    label.style.left = `${(100 * x) / width}%`;
    label.style.transform = `translateX(-${(100 * x) / width}%)`;
    epochs.append(label);
  }
  const root = element("div", { class: "chart" }, element("div", { class: "chart-head" }, named, ...numbers), plot, epochs);
  return { root, mark, numbers, limit };
}

// Underlined in the color of its curve
function coloredText(text, color) {
  const node = element("span", {}, text);
  node.style.borderColor = color;
  return node;
}

// The value at a frame, or the last one before it: loss and accuracy are known once per epoch.
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
