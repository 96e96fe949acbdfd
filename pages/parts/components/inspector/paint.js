// Painting: everything after each change, so that nothing is out of date.

// Only changes with the data
function paintScene(view, { title, name, beforeName, prediction }) {
  const G = view.gridSize;
  const keys = "Arrow keys move over the patches, Home or Escape selects CLS.";
  for (const { source, scene, stack, name: heading } of view.pictures) {
    paintImage(scene, view.image, view.image.shape[2]);
    setText(heading, source === view ? name : source ? beforeName : title || "original");
    const about = source === view ? `${title || "Image"}, ${name}, ${G} by ${G} patches. ${keys}` : source ? beforeName : "original";
    stack.setAttribute("aria-label", about);
  }
  paintPrediction(view, prediction ?? { verdicts: [], classes: {} });
  const content = JSON.stringify([view.absoluteMax, view.valueFormat]);
  if (content !== view.controlsContent || !view.controls.firstChild) buildControls(view);
  view.controlsContent = content;
}

// Each class has its probability, and if patches are masked a second one
function paintPrediction(view, { verdicts, classes }) {
  const sentences = verdicts.map(([text, correct]) => {
    const sign = correct === null ? "" : correct ? "✓" : "✗";
    return element("p", {}, element("span", { class: correct ? "correct" : "incorrect" }, sign), " ", element("span", {}, text));
  });
  view.verdicts.replaceChildren(...sentences);
  const share = (value) => `${(100 * value).toFixed(1)}%`;
  const bar = (value) => {
    const filled = element("span", { class: "bar" });
    filled.style.setProperty("--share", value);
    return filled;
  };
  const rows = Object.entries(classes).map(([name, values]) =>
    element("li", {}, element("span", { class: "class-name", title: name }, name), element("span", {}, values.map(share).join(" → ")), ...values.map(bar)),
  );
  view.probabilities.hidden = !rows.length;
  view.probabilities.replaceChildren(...rows);
}

// A single map has no page-wide scale.
const scaleName = (view) => (view.isOneMap && view.settings.scale === "shared" ? "absolute" : view.settings.scale);

// `range` is that of all maps that the page shows
function scaleOf(view, values, range) {
  const name = scaleName(view);
  const [low, high] = { own: () => rangeOf(values.subarray(1)), shared: () => range, absolute: () => [0, view.absoluteMax] }[name]();
  if (!view.valueFormat.signed) return { colors: COLORS[view.settings.colormap], low, high };
  const maximum = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return { colors: COLORS.difference, low: -maximum, high: maximum };
}

function paint(view) {
  const { layer, head } = view.picked;
  const isWaiting = view.inView && !isInView(view, layer, head); // for the matrix of this head
  const token = isWaiting ? view.inView.token : (view.hovered ?? view.picked.token);
  const all = view.rows ?? Array.from({ length: view.numLayers }, (_, layer) => layerValues(view, layer, token)).flat();
  if (view.inView) view.rows = all; // those of the selected token, regardless of hovering
  const index = layer * view.heads.length + view.heads.indexOf(head);
  const values = view.isOneMap ? all[0] : view.inView && !isWaiting ? valuesOf(view, layer, head, token) : all[index];
  const before = view.before && (view.isOneMap ? headValues(view.before, 0, 0, token) : valuesOf(view.before, layer, head, token));
  const ranges = [...all, ...(before ? [before] : [])].map((values) => rangeOf(values.subarray(1)));
  const range = [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  if (!view.inView || view.hovered === null) paintMaps(view, all, range);
  const scale = scaleOf(view, values, range);
  for (const picture of view.pictures) {
    const map = picture.source === view ? values : picture.source && before;
    paintPicture(view, picture, token, map, map && scaleOf(view, map, range));
  }
  paintCls(view, token, values, scale);
  paintMasking(view);
  paintPanel(view, token, values, scale);
  paintScale(view, values, scale, range);
  if (view.table.open) paintTable(view, token, values);
}

function paintMaps(view, all, range) {
  view.maps.forEach((map, i) => {
    const isPicked = map.layer === view.picked.layer && map.head === view.picked.head;
    colorPixels(pixelsOf(view.strip), all[i].subarray(1), scaleOf(view, all[i], range), i * view.gridSize ** 2);
    if (map.isPicked !== isPicked) Object.assign(map.button, { ariaPressed: `${isPicked}`, tabIndex: isPicked ? 0 : -1 });
    map.isPicked = isPicked;
  });
  drawSheet(view);
}

// Copies each map from the strip, where they are one below the other, to its button
function drawSheet(view) {
  const [G, context] = [view.gridSize, view.sheet.getContext("2d")];
  put(view.strip);
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, view.sheet.width, view.sheet.height);
  view.maps.forEach(({ rectangle }, i) => rectangle && context.drawImage(view.strip, 0, i * G, G, G, ...rectangle));
}

const isOnScale = ({ uniform }, { low, high }) => uniform !== null && uniform > low && uniform < high;

// Of a map that is almost uniform on the scale
function spanOf(values, { low, high }) {
  const [lowest, highest] = rangeOf(values.subarray(1));
  const share = (highest - lowest) / (high - low);
  return share < HARDLY_VISIBLE ? `This map spans ${(100 * share).toFixed(1)}% of the scale: its differences are hardly visible.` : "";
}

// What the legend says where it has no mark of the uniform value
function uniformOf(view, scale) {
  const { signed, uniform_name: name } = view.valueFormat;
  if (signed || isOnScale(view, scale)) return "";
  return view.uniform === null ? " It has no uniform value." : ` ${name} = ${number(view, view.uniform)} is outside the scale.`;
}

function paintScale(view, values, scale, [lowest, highest]) {
  const { title, signed, uniform_name: uniformName, meaning } = view.valueFormat;
  const own = scaleName(view) === "own";
  const above = highest > scale.high * 1.001 ? "≥ " : "";
  const below = lowest < scale.low * 1.001 && signed ? "≤ " : "";
  const position = (value) => (value - scale.low) / (scale.high - scale.low);
  const each = own && !view.isOneMap;
  paintLegend(view.legend, {
    colors: scale.colors,
    title: `${each ? PER_MAP_SCALE : view.isOneMap ? `${title}: ${meaning}` : `${title}, one scale for all maps.`}${uniformOf(view, scale)}`,
    warning: [each ? `${EXAGGERATED}.` : own ? "Per-map scale: contrast exaggerated." : "", startOf(scale, (value) => number(view, value)), spanOf(values, scale)].join(" ").trim(),
    low: `${own ? "" : below}${number(view, scale.low)}`,
    high: `${own ? "" : above}${number(view, scale.high)}`,
    marks: signed
      ? [[0.5, "0"]]
      : isOnScale(view, scale)
        ? [[position(view.uniform), `${uniformName} = ${number(view, view.uniform)}`]]
        : [],
  });
}

function paintPicture(view, picture, token, map, scale) {
  if (map) {
    paintMap(picture.overlay, map.subarray(1), scale);
    layOver(picture.scene, picture.overlay, view.settings.overlay);
  }
  picture.hairlines.style.display = view.settings.grid ? "" : "none";
  const [kept, halo, query] = picture.outlines;
  const G = view.gridSize;
  const corners = [...view.masked].map((token) => `M${(token - 1) % G} ${Math.floor((token - 1) / G)}`);
  picture.shade.setAttribute("d", corners.map((corner) => `${corner}h1v1h-1z`).join(""));
  picture.hatching.setAttribute("d", corners.map((corner) => `${corner}m0 .5l.5 -.5m-.5 1l1 -1m-.5 1l.5 -.5`).join(""));
  moveOutline(kept, view.hovered === null ? 0 : view.picked.token, G);
  moveOutline(halo, token, G);
  moveOutline(query, token, G);
  picture.stack.classList.toggle("masking", view.settings.masking);
}

function paintCls(view, token, values, scale) {
  view.cls.setAttribute("aria-pressed", view.picked.token === 0);
  view.cls.hidden = view.isOneMap;
  view.cls.classList.toggle("is-query", token === 0);
  paintSwatch(view.clsSwatch, values[0], scale);
  view.clsValue.textContent = number(view, values[0]);
}

function paintMasking(view) {
  view.masking.checked = view.settings.masking;
  view.unmaskButton.hidden = !view.masked.size;
  setText(view.maskedNames, maskedPatches(view));
  view.mapGrid.classList.toggle("some-masked", view.masked.size > 0);
}

function moveOutline(outline, token, gridSize) {
  outline.style.display = token === 0 ? "none" : "";
  outline.setAttribute("x", (token - 1) % gridSize);
  outline.setAttribute("y", Math.floor((token - 1) / gridSize));
}

function paintPanel(view, token, values, scale) {
  const strongest = strongestPatches(view, values);
  setText(view.heading, attendsName(view, token));
  setText(view.subheading, view.isOneMap ? view.valueFormat.unit : `${placeName(view)}: ${view.valueFormat.unit}`);
  const listed = [...strongest, ...(view.isOneMap ? [] : [0])];
  view.entries.forEach((entry, i) => {
    entry.root.hidden = i >= listed.length;
    if (entry.root.hidden) return;
    paintSwatch(entry.swatch, values[listed[i]], scale);
    setText(entry.name, tokenName(listed[i]));
    setText(entry.value, number(view, values[listed[i]]));
    setText(entry.ratio, times(view, values[listed[i]]));
  });
  setText(view.sentence, summary(view, token, values, strongest));
  const listing = strongest.map((other) => `${tokenName(other)} ${number(view, values[other])}`).join(", ");
  view.announcement = `${attendsName(view, token)}${view.isOneMap ? ":" : ""} ${listing}. ${view.sentence.textContent}`;
  setText(view.between, between(view));
}

function strongestPatches(view, values) {
  const magnitude = view.valueFormat.signed ? Math.abs : (value) => value;
  const patches = Array.from({ length: values.length - 1 }, (_, i) => i + 1).filter((i) => Number.isFinite(values[i]));
  return patches.sort((a, b) => magnitude(values[b]) - magnitude(values[a])).slice(0, NUM_STRONGEST);
}

function paintTable(view, token, values) {
  const strong = new Set(strongestPatches(view, values));
  view.cells.forEach((cell, i) => {
    cell.textContent = number(view, values[i + 1]);
    cell.classList.toggle("strong", strong.has(i + 1));
  });
  const cls = `, ${placeName(view)}. CLS: ${number(view, values[0])}`;
  const uniform = view.uniform ? ` ${view.valueFormat.uniform_name} = ${number(view, view.uniform)}.` : "";
  view.tableCaption.textContent = `${attendsName(view, token)}${view.isOneMap ? "" : cls}.${uniform}`;
}
