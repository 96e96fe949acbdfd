// Color scales of the maps and of the difference, and their legends.

function scaleOf(view, column) {
  const { view: what, scale, colormap } = view.settings;
  const own = scale === "own";
  const [low, high] = own ? rangeOf(column.values) : view.data.scale;
  if (column.sides || what === "specific") return signedScale(view.colors.difference, own ? column.values : high);
  return { colors: view.colors[colormap], low, high };
}

function paintLegends(view) {
  const { view: what, scale, colormap } = view.settings;
  const { difference, numMeasured } = view.data;
  const own = scale === "own";
  const high = view.data.scale[1];
  const over = (maximum) => (maximum > high * 1.001 ? "≥ " : "");
  const signed = (maximum) => {
    const [less, more] = view.runs[1] ? [`−${times(high)}`, `+${times(high)}`] : [-high, high].map(signedNumber);
    return { colors: view.colors.difference, own, low: over(maximum).replace("≥", "≤") + less, high: over(maximum) + more };
  };
  const unit = view.runs[1] ? " In multiples of each run's uniform attention." : "";
  if (what === "specific") {
    const title = `Map − average map of ${numMeasured} test images. Blue is less, red is more.${unit}`;
    paintSignedLegend(view.legend, { ...signed(view.ranges.specific.map), title });
  } else paintMapLegend(view, view.colors[colormap], own, high, over(view.ranges.map.map));
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
function paintMapLegend(view, colors, own, high, over) {
  const [first, second] = view.runs.map((run) => run.numTokens);
  if (second && !own) {
    const title = `Attention in multiples of uniform, one scale for both runs. 1× is 1/${first} in the first run, 1/${second} in the second.`;
    const marks = [[1 / high, "uniform 1×"]];
    return paintLegend(view.legend, { colors, title, low: "0", high: over + times(high), marks });
  }
  paintAttentionLegend(view.legend, {
    colors,
    own,
    low: 0,
    high,
    lowText: own ? "lowest in the map" : "0",
    highText: own ? "highest in the map" : over + shortNumber(high),
    uniform: own ? NaN : 1 / first,
    uniformText: shortNumber(1 / first),
  });
}
