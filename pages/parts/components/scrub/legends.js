// Color scales of the maps and of the difference, and their legends.

function scaleOf(view, column) {
  const { view: what, scale, colormap } = view.settings;
  const own = scale === "own";
  const [low, high] = own ? rangeOf(column.values) : view.data.scale;
  if (column.sides || what === "specific") return signedScale(COLORS.difference, own ? column.values : high);
  return { colors: COLORS[colormap], low, high };
}

// Colors from −maximum to +maximum around 0; `maximum` is a number, or values whose largest magnitude is used.
function signedScale(colors, maximum) {
  if (typeof maximum !== "number") maximum = Math.max(...rangeOf(maximum).map(Math.abs));
  return { colors, low: maximum ? -maximum : -1, high: maximum || 1 };
}

// A legend of such colors; `low` and `high` are the labels at its ends.
function paintSignedLegend(legend, { colors, title, own, low, high }) {
  const ends = own ? { low: "maximum less", high: "maximum more" } : { low, high };
  const warning = own ? `${PER_MAP_SCALE} ${EXAGGERATED}` : "";
  paintLegend(legend, { colors, title, warning, ...ends, marks: [[0.5, "0"]] });
}

function paintLegends(view) {
  const { view: what, scale, colormap } = view.settings;
  const { difference, numMeasured } = view.data;
  const own = scale === "own";
  const high = view.data.scale[1];
  const over = (maximum) => (maximum > high * 1.001 ? "≥ " : "");
  const signed = (maximum) => {
    const [less, more] = view.runs[1] ? [`−${times(high)}`, `+${times(high)}`] : [-high, high].map(signedNumber);
    return { colors: COLORS.difference, own, low: over(maximum).replace("≥", "≤") + less, high: over(maximum) + more };
  };
  const unit = view.runs[1] ? " In multiples of each run's uniform attention." : "";
  if (what === "specific") {
    const title = `Map − average map of ${numMeasured} test images. Blue is less, red is more.${unit}`;
    paintSignedLegend(view.legend, { ...signed(view.ranges.specific.map), title });
  } else paintMapLegend(view, COLORS[colormap], own, view.ranges.map.map);
  view.differenceLegend.root.hidden = !difference;
  if (!difference) return;
  const { grid } = difference;
  const [plus, minus] = difference.columns.map((index) => view.columns[index]);
  const sameGrid = plus.grid === grid && minus.grid === grid;
  const common = ` In multiples of 1/${grid ** 2 + 1}, both on ${grid}×${grid} cells: each patch's attention is divided evenly among the cells it covers.`;
  const title = `Difference: ${plus.name} − ${minus.name}. Blue is less, red is more.${sameGrid ? unit : common}`;
  paintSignedLegend(view.differenceLegend, { ...signed(view.ranges[what].difference), title });
}

const times = (value) => `${value.toFixed(1)}×`;

// Two runs with different grids share a scale in multiples of uniform, because their 1/N differ.
function paintMapLegend(view, colors, own, highest) {
  const { scale } = view.data;
  const [first, second] = view.runs.map((run) => run.numTokens);
  if (second && !own) {
    const title = `Attention in multiples of uniform, one scale for both runs. 1× is 1/${first} in the first run, 1/${second} in the second.`;
    const high = `${highest > scale[1] * 1.001 ? "≥ " : ""}${times(scale[1])}`;
    return paintLegend(view.legend, { colors, title, low: "0", high, marks: [[1 / scale[1], "uniform 1×"]] });
  }
  paintAttentionLegend(view.legend, { colors, own, scale, highest, uniform: 1 / first });
}
