// What the bench asks of a page. Milliseconds are those of the page's own clock.

const all = (selector, root = document) => [
  ...root.querySelectorAll(selector),
  ...[...root.querySelectorAll("*")].filter((one) => one.shadowRoot).flatMap((one) => all(selector, one.shadowRoot)),
];

// For the browser's trace: when the pointer moved
addEventListener("pointermove", (event) => performance.mark("minivit-hover", { startTime: event.timeStamp }), true);

window.bench = {
  drawn: () =>
    document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning" &&
    document.querySelector("h1") !== null,

  // Whether that many images are there, with the sheet that holds their pixels
  gallery: (count) => {
    if (all(".gallery button").length !== count) return false;
    const sheet = getComputedStyle(all(".gallery .images")[0]).getPropertyValue("--sheet").slice(5, -2);
    window.bench.sheet ??= Object.assign(new Image(), { src: sheet });
    return window.bench.sheet.complete && window.bench.sheet.naturalWidth > 0;
  },

  picture: () => all(".inspector .picture")[0],

  // From the click on a head until its map is drawn, and until the server has sent its patches' rows
  head: async (name) => {
    const begun = performance.now();
    all(".inspector button").find((button) => button.ariaLabel === name).click();
    const said = () => all(".inspector [role=status]").some((status) => status.textContent.includes(name));
    while (!said()) await new Promise(requestAnimationFrame);
    const map = performance.now() - begun;
    while (!location.search.includes("head=") || !window.bench.drawn()) await new Promise(requestAnimationFrame);
    return { map, rows: performance.now() - begun };
  },

  // From the click on a patch until the page that the server drew for it says so in its address
  click: async (patch) => {
    const [begun, picture] = [performance.now(), window.bench.picture()];
    picture.dispatchEvent(new MouseEvent("click", { bubbles: true, composed: true, ...middle(patch) }));
    while (!location.search.includes(`token=p${patch}`)) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
  },
};

// The middle of one of 8 × 8 patches
function middle(patch) {
  const { left, top, width, height } = window.bench.picture().getBoundingClientRect();
  const [row, column] = [Math.floor(patch / 8), patch % 8];
  return { clientX: left + ((column + 0.5) * width) / 8, clientY: top + ((row + 0.5) * height) / 8 };
}
