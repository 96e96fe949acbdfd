// The settings of a component's view and their controls, shared by linked components

// The user's settings by component key: they survive reruns, other images and page changes.
const SETTINGS = new Map();

function settingsOf(key, start) {
  if (!SETTINGS.has(key)) SETTINGS.set(key, { ...start });
  return SETTINGS.get(key);
}

const COLORMAP_NAMES = Object.keys(COLORS).filter((name) => name !== "difference");
const OPTIONS = { colormap: COLORMAP_NAMES, overlay: Array.from({ length: 21 }, (_, i) => i / 20), grid: [true, false] };

// The same of a page's main component: they are also in the link to the page, if they differ from `start`. `options`
// has those of names that are not in OPTIONS.
function linkedSettings(key, start, options) {
  const linked = Object.entries({ ...OPTIONS, ...options }).filter(([name]) => name in start);
  const write = (settings) => {
    const text = (name) => (settings[name] === start[name] ? null : `${settings[name]}`);
    window.setLinkParams?.(Object.fromEntries(linked.map(([name]) => [name, text(name)])));
    return true;
  };
  if (!SETTINGS.has(key)) {
    const query = new URLSearchParams(location.search);
    const requested = linked.map(([name, values]) => [name, values.find((value) => `${value}` === query.get(name)) ?? start[name]]);
    const set = (settings, name, value) => write(Object.assign(settings, { [name]: value }));
    SETTINGS.set(key, new Proxy({ ...start, ...Object.fromEntries(requested) }, { set }));
  }
  write(SETTINGS.get(key));
  return SETTINGS.get(key);
}

// The user chooses among all but the diverging map of signed values.
function colorsControl(value, changed) {
  return selectControl("Colors", COLORMAP_NAMES.map((name) => [name, name]), value, changed);
}

// options: [[value, text]]
function selectControl(label, options, value, changed) {
  const select = element("select", { onchange: () => changed(select.value) });
  select.append(...options.map(([name, text]) => element("option", { value: name }, text)));
  select.value = value;
  return element("label", { class: "control" }, element("span", {}, label), select);
}

function sliderControl(label, value, changed) {
  const output = element("output", {}, percent(value));
  const slider = element("input", { type: "range", min: 0, max: 100, step: 5, value: Math.round(100 * value) });
  slider.addEventListener("input", () => {
    output.textContent = percent(slider.value / 100);
    changed(slider.value / 100);
  });
  return element("label", { class: "control" }, element("span", {}, label), slider, output);
}

function checkControl(label, checked, changed) {
  const box = element("input", { type: "checkbox", checked, onchange: () => changed(box.checked) });
  return element("label", { class: "control" }, box, element("span", {}, label));
}
