const CHARTS = {
  loss: { title: "loss (cross-entropy, nats)", hover: "%{y:.3f}", format: (value) => value.toFixed(3) },
  accuracy: { title: "accuracy (%)", hover: "%{y:.1f}%", format: (value) => `${value.toFixed(1)}%` },
};
const SPLITS = { train: { width: 1.75 }, test: { width: 2.5 } };
const NOTIFY = "Notify me when it is done";
const DOUBLE_CLICK_MS = 250;

export default function ({ data: sent, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".live_curves");
  const data = JSON.parse(new TextDecoder().decode(sent));
  root.data = data;
  root.pick = (epoch) => setTriggerValue("picked", epoch);
  const parts = (root.parts ??= buildParts(root));
  showStatus(parts, data);
  root.charts ??= Object.keys(CHARTS).map((name) => buildChart(parts.charts, name));
  loadPlotly(serverUrl(data.plotly)).then(
    (Plotly) => root.isConnected && root.charts.forEach((chart) => draw(Plotly, root, chart)),
    (error) => parts.charts.replaceChildren(element("p", { role: "alert" }, error.message)),
  );
  const disposeMaps = data.maps ? showMaps({ data: data.maps, parentElement: root }) : () => {};
  return onRemoval(root, () => {
    disposeMaps();
    for (const { plot, resize } of root.charts) {
      resize?.disconnect();
      window.Plotly?.purge(plot);
    }
    root.charts = root.parts = undefined;
    root.replaceChildren();
  });
}

// Headline and progress bar above the charts, maps below.
function buildParts(root) {
  const parts = {
    headline: element("p", { class: "headline" }),
    done: element("span"),
    charts: element("div", { class: "charts" }),
    notify: checkControl(NOTIFY, false, (wanted) => askToNotify(root, wanted)),
    mapsNotice: element("p", { class: "maps-notice" }),
  };
  parts.progress = element("div", { class: "progress", role: "progressbar", "aria-label": "training" }, parts.done);
  root.append(element("div", { class: "status" }, parts.headline, parts.notify), parts.progress, parts.charts, element("div", { class: "maps" }), parts.mapsNotice);
  return parts;
}

function showStatus({ headline, progress, done, mapsNotice, notify }, data) {
  setText(headline, data.headline);
  setText(mapsNotice, data.mapsNotice);
  progress.classList.toggle("resting", !data.active);
  progress.setAttribute("aria-valuenow", Math.round(100 * data.progress));
  done.style.width = `${100 * data.progress}%`;
  notify.hidden = !data.active || !window.isSecureContext || !window.Notification; // browsers notify on HTTPS and localhost
  const box = notify.querySelector("input");
  if (box.checked && !data.active) new Notification("MiniViT", { body: `${data.phase} · ${data.headline}` });
  box.checked &&= data.active;
}

// The notification is shown by this page, so it must stay open.
async function askToNotify({ parts: { notify } }, wanted) {
  const allowed = !wanted || (await Notification.requestPermission()) === "granted";
  notify.querySelector("input").checked &&= allowed;
  setText(notify.querySelector("span"), allowed ? NOTIFY : "This browser blocks notifications of this page.");
}

// Plotly is loaded once per page.
function loadPlotly(url) {
  window.minivitPlotly ??= new Promise((resolve, reject) => {
    const failed = () => reject(new Error(`The chart library did not load from ${url}. Reload the page.`));
    document.head.append(
      element("script", { src: url, onload: () => (window.Plotly ? resolve(window.Plotly) : failed()), onerror: failed }),
    );
  });
  return window.minivitPlotly;
}

function buildChart(charts, name) {
  const plot = element("div", { class: "plot" });
  const keyboardSlider = element("div", { class: "keyboard-slider", role: "slider", tabindex: 0, "aria-valuemin": 0 });
  const empty = { x: [], y: [] };
  const chart = { name, plot, keyboardSlider, curves: { train: empty, test: empty }, at: null };
  charts.append(element("div", { class: "chart" }, keyboardSlider, plot));
  describe(chart); // a slider needs a value also while Plotly loads
  return chart;
}

function draw(Plotly, root, chart) {
  const { name, plot } = chart;
  const { data } = root;
  for (const split of Object.keys(SPLITS)) {
    const columns = unpack(data.curves[name][split]);
    const length = columns.shape[1];
    chart.curves[split] = { x: columns.subarray(0, length), y: columns.subarray(length) };
  }
  const first = !chart.resize;
  Plotly.react(plot, traces(root, chart), layout(root, chart), {
    displaylogo: false,
    displayModeBar: true,
    doubleClick: "autosize",
    doubleClickDelay: DOUBLE_CLICK_MS,
    modeBarButtons: [["zoom2d", "pan2d", "autoScale2d", "toImage"]],
    toImageButtonOptions: { filename: `minivit-${name}`, scale: 2 },
  });
  if (first) {
    adoptPlotlyStyles(root);
    listen(Plotly, root, chart);
  }
  for (const drawing of plot.querySelectorAll(".main-svg")) drawing.setAttribute("aria-hidden", "true");
  plot.querySelector(".modebar")?.setAttribute("aria-label", `${name} chart`);
  if (chart.at != null) point(Plotly, chart);
  describe(chart);
}

function point(Plotly, { plot, curves, at }) {
  const { x, y } = curves.test;
  Plotly.Fx.hover(plot, { xval: x[at], yval: y[at] }, "xy");
}

function traces(root, chart) {
  const { colors } = root.data;
  const { hover } = CHARTS[chart.name];
  const { x, y } = chart.curves.test;
  const curves = Object.entries(SPLITS).map(([split, { width }]) => ({
    ...orPlaceholder(chart.curves[split]),
    uid: split,
    name: split,
    legendgroup: split,
    mode: x.length <= 20 ? "lines+markers" : "lines", // a single point has no line
    line: { color: colors[split], width: x.length > 300 ? 0.6 * width : width },
    marker: { size: 5 },
    hovertemplate: hover,
  }));
  const start = {
    x: x[0] === 0 ? [0] : [null],
    y: x[0] === 0 ? [y[0]] : [null],
    uid: "start",
    legendgroup: "test",
    showlegend: false,
    mode: "markers",
    marker: { color: colors.test, size: 8 },
    hoverinfo: "skip",
  };
  const { best } = root.data;
  if (!best) return [...curves, start];
  const marked = {
    x: [best.epoch],
    y: [best[chart.name]],
    uid: "best",
    legendgroup: "test",
    showlegend: false,
    mode: "markers+text",
    marker: { color: colors.test, size: 13, symbol: "star" },
    text: ["best"],
    textposition: "top center",
    cliponaxis: false,
    hoverinfo: "skip",
  };
  return [...curves, start, marked];
}

// A curve without points keeps its legend entry and the space for epoch 1.
function orPlaceholder({ x, y }) {
  return y.some((value) => !Number.isNaN(value)) ? { x, y } : { x: [1], y: [null] };
}

function layout(root, { name, curves }) {
  const { data } = root;
  const css = (color) => `rgba(${rgba(root, color).join(",")})`;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize); // larger in a presentation
  const text = css("--st-text-color");
  const grid = css("--st-border-color-light");
  const faint = css("--st-gray-text-color");
  const chance = data.baselines[0][1];
  const lastEpoch = Math.max(0, ...curves.test.x.slice(-1));
  const axis = { gridcolor: grid, linecolor: grid, zeroline: false, tickfont: { color: faint } };
  const shapes = [];
  for (const [i, [label, share]] of name === "accuracy" ? data.baselines.entries() : [])
    shapes.push({
      type: "line",
      ...{ xref: "paper", x0: 0, x1: 1, y0: share, y1: share },
      line: { color: faint, width: 1.5, dash: "dot" },
      label: {
        text: `${label} ${Number(share.toFixed(1))}%`,
        textposition: i ? "start" : "end", // apart, as both may be almost the same
        font: { color: faint, size: 0.75 * rem },
      },
    });
  return {
    uirevision: data.key,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(root).fontFamily, size: 0.8125 * rem, color: text },
    margin: { l: 3.5 * rem, r: 10, t: 2 * rem, b: 2.75 * rem },
    hovermode: "x unified",
    hoverdistance: -1,
    hoverlabel: {
      bgcolor: css("--st-background-color"),
      bordercolor: css("--st-border-color"),
      font: { color: text, family: getComputedStyle(root).fontFamily },
    },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom", font: { color: text } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: css("--st-primary-color") },
    xaxis: {
      ...axis,
      title: { text: "epoch", standoff: 6, font: { size: 0.8125 * rem } },
      dtick: lastEpoch <= 8 ? 1 : undefined,
      ...{ spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: faint },
      unifiedhovertitle: { text: "epoch %{x:d}" },
    },
    yaxis: {
      ...axis,
      title: { text: CHARTS[name].title, standoff: 6, font: { size: 0.8125 * rem } },
      // At least ten percentage points around chance: otherwise the first epochs would look like large steps.
      autorangeoptions: name === "accuracy" ? { include: [chance - 2, chance + 8] } : {},
    },
    shapes,
  };
}

// Plotly adds its style sheet to the page's head, which does not apply inside a shadow root.
function adoptPlotlyStyles(root) {
  if (root.plotlyStyles) return;
  const rules = document.getElementById("plotly.js-style-global")?.sheet.cssRules ?? [];
  root.plotlyStyles = element("style", {}, [...rules].map((rule) => rule.cssText).join("\n"));
  root.parentNode.append(root.plotlyStyles);
}

function listen(Plotly, root, chart) {
  const { plot, keyboardSlider } = chart;
  let waiting;
  let doubled = -Infinity; // a double click resets the zoom and selects nothing, although Plotly reports its clicks too
  plot.on("plotly_doubleclick", () => {
    clearTimeout(waiting);
    doubled = performance.now();
  });
  plot.on("plotly_click", ({ points }) => {
    if (performance.now() - doubled < DOUBLE_CLICK_MS) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => root.pick(Math.round(points[0].x)), DOUBLE_CLICK_MS);
  });
  chart.resize = new ResizeObserver(() => {
    if (plot.offsetWidth && plot.offsetWidth !== plot._fullLayout.width) Plotly.Plots.resize(plot);
  });
  chart.resize.observe(plot);
  keyboardSlider.addEventListener("keydown", (event) => {
    const last = chart.curves.test.x.length - 1;
    if (last < 0) return;
    const at = chart.at ?? last;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -last, End: last };
    if (event.key === "Enter" || event.key === " ") root.pick(Math.round(chart.curves.test.x[at]));
    else if (event.key in steps) chart.at = Math.min(last, Math.max(0, at + steps[event.key]));
    else return;
    event.preventDefault();
    chart.at ??= at;
    point(Plotly, chart);
    describe(chart);
  });
  keyboardSlider.addEventListener("blur", () => {
    chart.at = null;
    Plotly.Fx.unhover(plot);
    describe(chart);
  });
}

// For screen readers: the values at the epoch under the keyboard, or at the last one.
function describe({ name, keyboardSlider, curves, at }) {
  const { x, y } = curves.test;
  const index = at ?? x.length - 1;
  const epoch = x[index] ?? 0;
  const values = [`epoch ${epoch}`];
  const inTrain = curves.train.x.indexOf(epoch);
  if (!Number.isNaN(curves.train.y[inTrain] ?? NaN)) values.push(`train ${CHARTS[name].format(curves.train.y[inTrain])}`);
  if (!Number.isNaN(y[index] ?? NaN)) values.push(`test ${CHARTS[name].format(y[index])}`);
  keyboardSlider.setAttribute("aria-label", `${name} by epoch; arrow keys move, Enter opens Predictions at the epoch`);
  keyboardSlider.setAttribute("aria-valuemax", x[x.length - 1] ?? 0);
  keyboardSlider.setAttribute("aria-valuenow", epoch);
  keyboardSlider.setAttribute("aria-valuetext", values.join(", "));
}
