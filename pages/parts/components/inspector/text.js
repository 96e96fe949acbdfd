// The inspector's texts: names, values and sentences.

const headName = (head) => (typeof head === "number" ? `head ${head + 1}` : `${head} over heads`);
const layerHeadName = ({ layer, head }) => `layer ${layer + 1}, ${headName(head)}`;
const placeName = (view) => (view.isOneMap ? view.valueFormat.title : layerHeadName(view.picked));
const sum = (values) => values.reduce((total, value) => total + value, 0);

// "CLS attends to", "p30 attended by"; a single map of the image has only its title
function attendsName(view, token) {
  const { title, verbs } = view.valueFormat;
  return view.isOneMap ? title : `${tokenName(token)} ${verbs[view.settings.direction === "row" ? 0 : 1]}`;
}

function number(view, value) {
  if (!Number.isFinite(value)) return "–";
  const text = value === 0 ? "0" : Math.abs(value).toFixed(view.valueFormat.decimals);
  const sign = value < 0 ? "−" : view.valueFormat.signed && value > 0 ? "+" : "";
  return sign + text;
}

const times = (view, value) =>
  view.uniform && Number.isFinite(value) ? `${(value / view.uniform).toFixed(1)}×` : "";

// One sentence on how concentrated a map is.
function summary(view, token, values, strongest) {
  const patches = values.subarray(1).filter(Number.isFinite);
  if (!patches.length) return token && view.masked.has(token) ? `${tokenName(token)} is masked.` : "All patches are masked.";
  if (view.valueFormat.signed) {
    const [up, down] = [patches.filter((value) => value > 0), patches.filter((value) => value < 0)];
    const side = (patches, verb) => `${patches.length} patches ${verb} the logit, ${number(view, sum(patches))} in total`;
    return `${side(up, "increase")}; ${side(down, "decrease")}.`;
  }
  if (!view.isOneMap && view.picked.head === "max") return "The highest over all heads: these values do not sum to 100%.";
  const maximum = sum(strongest.map((other) => values[other]));
  const many = `The ${strongest.length} strongest patches have`;
  if (!view.valueFormat.shares)
    return `${many} ${percent(maximum / sum(patches))} of the map; uniform: ${percent(strongest.length / patches.length)}.`;
  if (view.settings.direction === "row")
    return `${many} ${percent(maximum)} of the attention; uniform: ${percent(strongest.length * view.uniform)}.`;
  const received = sum(values.filter(Number.isFinite));
  return `This token receives ${received.toFixed(2)} from all ${Math.round(1 / view.uniform)} tokens; uniform: 1.00.`;
}

// While another patch is hovered: the value between it and the selected token, or of the single map
function between(view) {
  const { layer, head, token } = view.picked;
  if (view.isOneMap) {
    const patch = view.hovered ?? token;
    return patch ? `${tokenName(patch)}: ${number(view, view.values[patch - 1])}` : "";
  }
  if (view.hovered === null || view.hovered === token) return "";
  const value = valuesOf(view, layer, head, token)[view.hovered];
  return `${attendsName(view, token)} ${tokenName(view.hovered)}: ${[number(view, value), times(view, value)].filter(Boolean).join(", ")}`;
}

function maskedPatches(view) {
  const names = [...view.masked].sort((a, b) => a - b).map(tokenName);
  return names.length ? `Masked: ${names.slice(0, 8).join(", ")}${names.length > 8 ? ` and ${names.length - 8} more` : ""}.` : "";
}
