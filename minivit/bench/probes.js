// What the bench asks of a page. Milliseconds are those of the page's own clock.

const all = (selector, root = document) => [
  ...root.querySelectorAll(selector),
  ...[...root.querySelectorAll("*")].filter((one) => one.shadowRoot).flatMap((one) => all(selector, one.shadowRoot)),
];

// After the next frame has been painted
const painted = () =>
  new Promise((done) =>
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => done(performance.now());
      port2.postMessage(0);
    }),
  );

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

  // From the pointer's event on each of some patches, at any time within a frame, to the painted frame
  hovers: async (count) => {
    const took = [];
    for (let hover = 0; hover < count; hover++) {
      await painted();
      await new Promise((done) => setTimeout(done, 10 * Math.random()));
      const begun = performance.now();
      send("pointermove", PointerEvent, (hover * 37) % 64);
      took.push((await painted()) - begun);
    }
    return took;
  },

  // From the click on a patch until the page that the server drew for it says so in its address
  click: async (patch) => {
    const begun = performance.now();
    send("click", MouseEvent, patch);
    while (!location.search.includes(`token=p${patch}`)) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
  },
};

// An event in the middle of one of 8 × 8 patches
function send(name, Kind, patch) {
  const picture = window.bench.picture();
  const { left, top, width, height } = picture.getBoundingClientRect();
  const [row, column] = [Math.floor(patch / 8), patch % 8];
  const place = { clientX: left + ((column + 0.5) * width) / 8, clientY: top + ((row + 0.5) * height) / 8 };
  picture.dispatchEvent(new Kind(name, { bubbles: true, composed: true, ...place }));
}
