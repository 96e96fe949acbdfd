// Streamlit scrolls an inner element, so the browser does not restore its position; this script does it instead: another
// page starts at its top, and Back and Forward return to the last position.
if (!window.scrollPositions) {
  const positions = (window.scrollPositions = new Map()); // by URL
  const RESTORE_TIMEOUT_MS = 30_000; // time for a page to reach its previous height
  let currentUrl = location.href;
  let [scrolled, height] = [0, 0]; // px, of the current page
  let stop = () => {};
  let returning = false; // from Back or Forward until the user does something
  const main = () => document.querySelector("[data-testid=stMain]");

  const onScroll = ({ target }) => {
    if (target !== main()) return;
    const { scrollTop, scrollHeight, clientHeight } = target;
    const isPushedUp = scrollHeight < height && scrollTop >= scrollHeight - clientHeight - 1;
    if (!isPushedUp) [scrolled, height] = [scrollTop, scrollHeight]; // else the next page's content replaces this one's
  };

  const scrollTo = (top, patience = RESTORE_TIMEOUT_MS) => {
    stop();
    const apply = () => main()?.scrollTo({ top: top(), behavior: "instant" });
    const whileGrowing = new ResizeObserver(apply);
    const timer = setTimeout(() => stop(), patience);
    stop = () => {
      whileGrowing.disconnect();
      clearTimeout(timer);
    };
    whileGrowing.observe(document.querySelector("[data-testid=stMainBlockContainer]"));
    apply();
  };

  const savePosition = () => returning || positions.set(currentUrl, scrolled);
  const restorePosition = (top) => {
    const samePage = new URL(currentUrl).pathname === location.pathname;
    currentUrl = location.href;
    if (samePage) return;
    [scrolled, height] = [top, 0];
    scrollTo(() => top);
  };
  const wrapped = { pushState: history.pushState, replaceState: history.replaceState };
  history.pushState = (...entry) => {
    savePosition();
    wrapped.pushState.apply(history, entry);
    // A run of the script that Back overtook may still push the page it drew, and the next run the one returned to.
    restorePosition(returning ? (positions.get(location.href) ?? 0) : 0);
  };
  history.replaceState = (...entry) => {
    wrapped.replaceState.apply(history, entry);
    currentUrl = location.href;
  };
  // An element that may still be to come, just below the bar where that stays in view; until the user scrolls
  window.scrollBelow = (find, findBar) =>
    scrollTo(() => {
      const [element, bar] = [find(), findBar()];
      if (!bar) return main().scrollTop;
      if (!element) return 0;
      const { bottom } = bar.getBoundingClientRect();
      const isAbove = bottom < innerHeight / 2;
      return main().scrollTop + element.getBoundingClientRect().top - (isAbove ? bar.offsetHeight + 40 : 64);
    }, 4 * RESTORE_TIMEOUT_MS);
  addEventListener("scroll", onScroll, { capture: true, passive: true });
  for (const event of ["wheel", "touchstart", "pointerdown", "keydown"]) {
    const userActs = () => {
      returning = false;
      stop();
    };
    addEventListener(event, userActs, true);
  }
  addEventListener("popstate", () => {
    savePosition();
    returning = true;
    restorePosition(positions.get(location.href) ?? 0);
  });
}
