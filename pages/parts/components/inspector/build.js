// The inspector's elements, built once per shape of the data.

function build(view) {
  view.legend = makeLegend();
  view.status = element("p", { class: "hidden-text", role: "status" });
  view.controls = element("div", { class: "controls" });
  view.verdicts = element("div", { class: "verdicts" });
  view.pictures = [buildPicture(view, null), view.before && buildPicture(view, view.before), buildPicture(view, view)].filter(Boolean);
  const pictures = element("div", { class: "pictures" }, ...view.pictures.map(({ root }) => root));
  const foot = element("div", { class: "scene-foot" }, buildMasking(view), view.legend.root);
  const scene = element("div", { class: "scene" }, view.verdicts, pictures, foot);
  const maps = buildMaps(view);
  const heads = element("div", { class: "heads" }, element("div", { class: "heading" }, "Layer × head"), maps);
  const parts = [scene, buildPanel(view), view.maps.length > 1 ? heads : null, view.controls, buildTable(view)];
  view.root.replaceChildren(element("div", { class: "board" }, ...parts.filter(Boolean)), view.status);
}

// The image, alone or below the map of `source`: the view, or its values before training. The view's own has the focus.
function buildPicture(view, source) {
  const [height, width] = view.image.shape;
  const G = view.gridSize;
  const picture = { source, scene: pixelCanvas(width, height), overlay: source && pixelCanvas(G, G) };
  const keys = { tabindex: 0, role: "application", onkeydown: (event) => pictureKey(view, event), onfocus: () => announce(view) };
  picture.stack = element(
    "div",
    {
      class: "stack picture",
      ...(source === view ? keys : { role: "img" }),
      onpointermove: (event) => hover(view, 1 + patchAt(event, view.gridSize)),
      onpointerleave: () => hover(view, null),
      onclick: (event) => clickPatch(view, 1 + patchAt(event, view.gridSize)),
    },
    picture.scene,
    picture.overlay,
    buildLines(view, picture),
  );
  picture.stack.style.setProperty("--side", `${width > 96 ? G : width}px`); // whole pixels, or patches of large images
  picture.name = element("div", { class: "picture-name" });
  picture.root = element("div", {}, picture.name, picture.stack);
  return picture;
}

function buildMasking(view) {
  const masking = checkControl("Mask patches", view.settings.masking, (on) => {
    view.settings.masking = on;
    paint(view);
  });
  view.masking = masking.firstChild;
  view.unmaskButton = element("button", { type: "button", class: "button unmask", onclick: () => unmaskAll(view) }, "Unmask all");
  view.maskedNames = element("span", { class: "muted" });
  return element("div", { class: "masking" }, buildCls(view), masking, view.unmaskButton, view.maskedNames);
}

function buildCls(view) {
  view.clsSwatch = element("span", { class: "swatch" });
  view.clsValue = element("span", { class: "muted" });
  view.cls = element(
    "button",
    {
      class: "button cls",
      type: "button",
      title: "The CLS token is not part of the image. Its square shows how much attention it receives.",
      onpointerenter: () => hover(view, 0),
      onpointerleave: () => hover(view, null),
      onclick: () => pick(view, { token: 0 }),
    },
    view.clsSwatch,
    "CLS",
    view.clsValue,
  );
  return view.cls;
}

// Hairlines between the patches, hatching over the masked ones, and the outlines of the selected and the hovered patch
function buildLines(view, picture) {
  const G = view.gridSize;
  const lines = svgElement("svg", { viewBox: `0 0 ${G} ${G}`, class: "lines", "aria-hidden": "true" });
  const path = Array.from({ length: G - 1 }, (_, i) => `M${i + 1} 0V${G}M0 ${i + 1}H${G}`).join("");
  picture.hairlines = svgElement("path", { d: path, class: "hairlines" });
  picture.outlines = ["kept", "halo", "query"].map((name) => svgElement("rect", { width: 1, height: 1, class: name }));
  [picture.shade, picture.hatching] = ["shade", "hatching"].map((name) => svgElement("path", { class: name }));
  lines.append(picture.hairlines, picture.shade, picture.hatching, ...picture.outlines);
  return lines;
}

function buildMaps(view) {
  const text = (head) => (typeof head === "number" ? `${head + 1}` : head);
  const names = view.heads.map((head) => element("span", { class: "column-name" }, text(head)));
  const grid = element("div", { class: "map-grid", role: "toolbar", "aria-label": "Layer and head" });
  const pickMap = (index) => pick(view, { layer: view.maps[index].layer, head: view.maps[index].head });
  roveFocus(grid, () => view.maps.map((map) => map.button), () => view.heads.length, pickMap);
  grid.append(element("span"), ...names);
  grid.style.setProperty("--columns", view.heads.length);
  const longer = Math.max(view.heads.length, view.numLayers);
  grid.style.setProperty("--cell", `${longer > 6 ? 44 : longer > 2 ? 64 : longer > 1 ? 112 : 176}px`);
  view.maps = [];
  view.sheet = element("canvas", { class: "sheet", "aria-hidden": "true" });
  for (let layer = 0; layer < view.numLayers; layer++) {
    grid.append(element("span", { class: "row-name" }, `layer ${layer + 1}`));
    for (const head of view.heads) {
      const label = layerHeadName({ layer, head });
      const button = element("button", { type: "button", class: "map", "aria-label": label, title: label });
      view.maps.push({ layer, head, button });
      grid.append(button);
    }
  }
  grid.append(view.sheet);
  view.strip = pixelCanvas(view.gridSize, view.gridSize * view.maps.length);
  view.resizeObserver?.disconnect();
  view.resizeObserver = new ResizeObserver(() => fitSheet(view));
  view.resizeObserver.observe(grid);
  view.mapGrid = grid;
  return grid;
}

// All maps of the grid are drawn on one sheet over the buttons: a browser takes far longer to draw sixty canvases than
// one. `map.rectangle` is that of a button on it in device pixels.
function fitSheet(view) {
  const origin = view.mapGrid.getBoundingClientRect();
  const pixel = (length) => Math.round(length * devicePixelRatio);
  Object.assign(view.sheet, { width: pixel(origin.width), height: pixel(origin.height) });
  for (const map of view.maps) {
    const box = map.button.getBoundingClientRect();
    const [x, y] = [pixel(box.left - origin.left), pixel(box.top - origin.top)];
    map.rectangle = [x, y, pixel(box.right - origin.left) - x, pixel(box.bottom - origin.top) - y];
  }
  drawSheet(view);
}

function buildPanel(view) {
  view.probabilities = element("ul", { class: "probabilities", "aria-label": "Class probabilities" });
  view.heading = element("div", { class: "heading" });
  view.subheading = element("p", { class: "muted subheading" });
  view.sentence = element("p", { class: "sentence" });
  view.between = element("p", { class: "muted between" });
  view.entries = Array.from({ length: Math.min(NUM_STRONGEST, view.numTokens - 1) + 1 }, () => {
    const [swatch, name, value, ratio] = [element("span", { class: "swatch" }), ...[1, 2, 3].map(() => element("span"))];
    return { swatch, name, value, ratio, root: element("li", {}, swatch, name, value, ratio) };
  });
  const list = element("ul", { class: "entries" }, ...view.entries.map((entry) => entry.root));
  return element("div", { class: "panel" }, view.probabilities, view.heading, view.subheading, list, view.sentence, view.between);
}

function buildTable(view) {
  const G = view.gridSize;
  view.tableCaption = element("caption");
  view.cells = Array.from({ length: G * G }, () => element("td"));
  const rows = Array.from({ length: G }, (_, row) => {
    const name = element("th", { scope: "row" }, `p${row * G} – p${row * G + G - 1}`);
    return element("tr", {}, name, ...view.cells.slice(row * G, row * G + G));
  });
  const head = ["patches", ...Array.from({ length: G }, (_, column) => `+${column}`)];
  const headRow = element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)));
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of the values" });
  scroll.append(element("table", {}, view.tableCaption, headRow, ...rows));
  view.table = element("details", { class: "table" }, element("summary", {}, `The ${G}×${G} values`), scroll);
  view.table.addEventListener("toggle", () => paint(view));
  return view.table;
}

// Rebuilt when the method or the maximum of the absolute scale changes
function buildControls(view) {
  const set = (name) => (value) => {
    view.settings[name] = value;
    paint(view);
  };
  const { signed } = view.valueFormat;
  const absolute = `absolute, ${number(view, signed ? -view.absoluteMax : 0)} – ${number(view, view.absoluteMax)}`;
  const scales = [
    ["absolute", absolute],
    ["shared", "page-wide scale"],
    ["own", "per-map scale"],
  ].filter(([name]) => name !== "shared" || !view.isOneMap);
  const { direction, colormap, overlay, grid } = view.settings;
  const controls = [
    view.isOneMap ? null : selectControl("Direction", view.valueFormat.verbs.map((verb, i) => [["row", "column"][i], verb]), direction, set("direction")),
    selectControl("Scale", scales, scaleName(view), set("scale")),
    signed ? null : colorsControl(colormap, set("colormap")),
    sliderControl("Overlay", overlay, set("overlay")),
    checkControl("Grid", grid, set("grid")),
  ];
  view.controls.replaceChildren(...controls.filter(Boolean));
}
