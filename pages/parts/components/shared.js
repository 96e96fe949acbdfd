// Shared by several components; prepended to the code of each.

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

// {dtype, shape, base64} from component.packed -> typed array with .shape
function unpack(packed) {
  const characters = atob(packed.base64);
  const bytes = new Uint8Array(characters.length); // a loop is several times faster than Uint8Array.from
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  const array = new ARRAYS[packed.dtype](bytes.buffer);
  array.shape = packed.shape;
  return array;
}

// An element with attributes and children; text is always set as text, never as markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function setText(node, text, titled = false) {
  if (node.textContent !== text) Object.assign(node, { textContent: text }, titled ? { title: text } : {});
}

// ---- Attention maps, their legends and their controls ----------------------------------

function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const shortNumber = (value) => (value === 0 ? "0" : value.toFixed(value < 0.1 ? 4 : 3).replace(/0$/, ""));

const percent = (share) => `${Math.round(100 * share)}%`;

// The cleanup of a component: Streamlit also calls it when a newer call supersedes one, so only a component that is no
// longer on the page is disposed.
function onRemoval(root, dispose) {
  return () => root.isConnected || dispose();
}

// The full address of a path such as "/media/…" that this Streamlit server serves, under any base path: every
// page is directly below it.
function serverUrl(path) {
  return new URL(`.${path}`, document.baseURI).href;
}

// Any CSS color as [red, green, blue, alpha], 0..255 and 0..1; names such as "--st-text-color" are looked up.
const colorPixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(root, color) {
  colorPixel.clearRect(0, 0, 1, 1);
  colorPixel.fillStyle = color.startsWith("--") ? getComputedStyle(root).getPropertyValue(color).trim() : color;
  colorPixel.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = colorPixel.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

// Of sRGB, 0..255 each. At 0.179, black and white text have the same contrast.
function luminance([red, green, blue]) {
  const linear = (value) => (value <= 10.3 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

const tokenName = (token) => (token === 0 ? "CLS" : `p${token - 1}`);

const withinGrid = (index, grid) => Math.max(0, Math.min(grid - 1, index));

// The patch under the pointer, of `grid` × `grid` over the element that has the listener
function patchAt({ currentTarget, clientX, clientY }, grid) {
  const box = currentTarget.getBoundingClientRect();
  const cell = (share) => withinGrid(Math.floor(share * grid), grid);
  return cell((clientY - box.top) / box.height) * grid + cell((clientX - box.left) / box.width);
}

// The patch beside `patch` in the direction of an arrow key; null for other keys
function patchByKey({ key }, patch, grid) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  return step ? withinGrid(Math.floor(patch / grid) + step[0], grid) * grid + withinGrid((patch % grid) + step[1], grid) : null;
}

const hasModifier = (event) => event.altKey || event.ctrlKey || event.metaKey;

// One tab stop for many buttons in rows of `columns()`: arrow keys, Home and End move the focus among them. A click
// calls `pick` with the index of the button.
function roveFocus(container, buttons, columns, pick) {
  const indexOf = (event) => buttons().indexOf(event.target.closest("button"));
  container.addEventListener("click", (event) => indexOf(event) >= 0 && pick(indexOf(event)));
  container.addEventListener("focusin", (event) => {
    const focused = event.target.closest("button");
    if (!focused) return;
    for (const button of container.querySelectorAll("button[tabindex='0']")) button.tabIndex = -1;
    focused.tabIndex = 0;
  });
  container.addEventListener("keydown", (event) => {
    const [all, at] = [buttons(), indexOf(event)];
    if (at < 0 || hasModifier(event)) return;
    const width = columns();
    const last = all.length - 1;
    const below = Math.floor(at / width) < Math.floor(last / width) ? Math.min(at + width, last) : at;
    const targets = {
      ArrowLeft: Math.max(at - 1, 0),
      ArrowRight: Math.min(at + 1, last),
      ArrowUp: at >= width ? at - width : at,
      ArrowDown: below,
      Home: 0,
      End: last,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    all[targets[event.key]].focus();
  });
}
