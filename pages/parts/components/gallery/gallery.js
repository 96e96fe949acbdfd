const [MAX_RETRIES, RETRY_MS] = [6, 300];
const NUMBER = new Intl.NumberFormat("en");

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gallery");
  root.pick = (index) => setTriggerValue("picked", index);
  if (!root.images) start(root);
  const { selected, ...content } = data;
  root.selected = selected;
  const contentText = JSON.stringify(content);
  if (root.shown === contentText) return mark(root);
  root.shown = contentText;
  const address = serverUrl(data.sheet);
  const isFirst = !root.images.childElementCount;
  if (isFirst) show(root, data, address);
  // The old gallery stays until the new picture is decoded, so nothing flickers.
  decoded(address).then((sheet) => {
    if (root.shown === contentText && !(isFirst && sheet === address)) show(root, data, sheet);
  });
}

// The URL of the picture once it is decoded. Streamlit drops a picture for a moment if a superseded script ends before
// the newer one draws the picture again.
async function decoded(address) {
  for (let retry = 0; retry < MAX_RETRIES && address; retry++) {
    const sheet = new Image();
    sheet.src = retry ? `${address}?${retry}` : address;
    const isDecoded = await sheet.decode().then(() => true, () => false);
    if (isDecoded) return sheet.src;
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
  return address;
}

function start(root) {
  root.images = element("div", { class: "images", role: "group", "aria-describedby": "keys" });
  root.legend = makeLegend();
  root.append(
    root.legend.root,
    root.images,
    element("p", { id: "keys", class: "hidden-text" }, "Arrow keys move, Enter selects the image."),
  );
  for (const name of ["pointerover", "focusin"])
    root.images.addEventListener(name, (event) => showMap(root, event.target.closest("button")));
  for (const name of ["pointerleave", "focusout"]) root.images.addEventListener(name, () => showMap(root, null));
  const buttons = () => [...root.images.children];
  const columns = () => {
    const all = buttons();
    const second = all.findIndex((button) => button.offsetTop > all[0].offsetTop);
    return second < 0 ? all.length : second;
  };
  roveFocus(root.images, buttons, columns, (index) => root.pick(Number(buttons()[index].value)));
}

// The map of one image, or of none, over its gray thumbnail.
function showMap(root, button) {
  root.querySelector(".covered")?.classList.remove("covered");
  root.map?.remove();
  if (!root.hover || !button) return;
  const { maps } = root.hover;
  const first = [...root.images.children].indexOf(button) * maps.shape[1];
  paintMap(root.map, maps.subarray(first, first + maps.shape[1]), { colors: COLORS.magma, low: 0, high: 255 });
  button.firstChild.classList.add("covered");
  button.firstChild.append(root.map);
}

function prepareMaps(root, hover) {
  root.hover = hover && { maps: unpack(hover.maps) };
  root.legend.root.hidden = !hover;
  if (!hover) return;
  const grid = Math.round(Math.sqrt(root.hover.maps.shape[1]));
  root.map = pixelCanvas(grid, grid, "map");
  coverPatches(root.map, 0.5);
  paintAttentionLegend(root.legend, { ...hover, colors: COLORS.magma, quantity: "Under the pointer: CLS map of the last layer, mean over heads" });
}

function show(root, { columns, rows, width, height, label, titles, hover }, sheet) {
  const { images } = root;
  prepareMaps(root, hover);
  const focused = [...images.children].indexOf(root.getRootNode().activeElement);
  images.setAttribute("aria-label", label);
  for (const [name, value] of Object.entries({
    "--sheet": `url("${sheet}")`,
    "--width": `${width}px`,
    "--height": `${height}px`,
    "--sheet-size": `${columns * width}px ${rows * height}px`,
  }))
    images.style.setProperty(name, value);
  images.replaceChildren(
    ...titles.map((title, i) => {
      const thumb = element("span", { class: "thumb pixels" });
      thumb.style.backgroundPosition = `${-width * (i % columns)}px ${-height * Math.floor(i / columns)}px`;
      const caption = element("span", { class: "caption", "aria-hidden": "true" }, ...lines(title));
      const attributes = { type: "button", value: title.index, tabindex: -1, "aria-label": labelOf(title) };
      return element("button", attributes, thumb, caption);
    }),
  );
  mark(root);
  if (focused >= 0) images.children[Math.min(focused, titles.length - 1)].focus();
}

function mark({ images, selected }) {
  const buttons = [...images.children];
  for (const button of buttons) button.setAttribute("aria-pressed", Number(button.value) === selected);
  if (buttons.some((button) => button.tabIndex === 0)) return;
  const tabStop = buttons.find((button) => Number(button.value) === selected) ?? buttons[0];
  tabStop.tabIndex = 0;
}

function lines({ true: truth, predicted, correct, note }) {
  const verdict = correct == null ? "" : correct ? "correct" : "incorrect";
  const line = (text, kind, sign = "") =>
    element(
      "span",
      { class: `line ${kind}`, title: text },
      element("span", { class: "text" }, text),
      sign ? element("span", { class: "sign" }, sign) : null,
    );
  const sign = { correct: "✓", incorrect: "✗" }[verdict];
  const rows = predicted == null ? [line(truth, verdict)] : [line(`T: ${truth}`, verdict), line(`P: ${predicted}`, verdict, sign)];
  return note ? [...rows, line(note, "note")] : rows;
}

function labelOf({ index, true: truth, predicted, correct, note }) {
  const name = predicted == null ? [truth] : [`true ${truth}`, `predicted ${predicted}`];
  if (correct != null) name.push(correct ? "correct" : "incorrect");
  if (note) name.push(note);
  return `image ${NUMBER.format(index)}: ${name.join(", ")}`;
}
