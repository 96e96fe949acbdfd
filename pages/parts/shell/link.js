// The link to what a page shows. Components keep in it what only the browser knows, such as a scale: Streamlit's server
// does not have these names, so they are added again to each address that it writes for the same page.
{
  const DELAY_MS = 300; // browsers limit the number of URL changes per minute
  const COPIED_MS = 4000;
  let [page, params, timer] = ["", {}, 0];

  const paramsOf = ({ pathname }) => (pathname === page ? params : {});
  const address = () => {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(paramsOf(url))) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    return url.href;
  };
  const write = () => address() === location.href || history.replaceState(history.state, "", address());
  // {name: text, or null to leave it out}
  window.setLinkParams = (changed) => {
    params = { ...paramsOf(location), ...changed };
    page = location.pathname;
    clearTimeout(timer);
    timer = setTimeout(write, DELAY_MS);
  };
  // What the pickers of a page fill in when it is opened without it is no step for the Back button.
  const FILLED_IN = {
    train: ["run"],
    predictions: ["run", "epoch"],
    attention: ["run", "epoch", "image"],
    compare: ["run", "before", "epoch", "layer", "layer2", "head"],
    anatomy: ["run", "epoch", "image"],
  };
  const isFilledIn = (url) => {
    const [before, after] = [new URL(location.href), new URL(url, location.href)];
    if (before.pathname !== after.pathname) return false;
    // The browser's own names, which `write` adds again
    for (const name of Object.keys(paramsOf(before))) [before, after].forEach((each) => each.searchParams.delete(name));
    const isKept = [...before.searchParams].every(([name, value]) => after.searchParams.get(name) === value);
    const added = [...after.searchParams.keys()].filter((name) => !before.searchParams.has(name));
    const names = FILLED_IN[before.pathname.split("/").pop()] ?? [];
    return isKept && added.every((name) => names.includes(name));
  };
  const { pushState, replaceState } = history;
  history.pushState = (state, title, url) => {
    (isFilledIn(url) ? replaceState : pushState).call(history, state, title, url);
    write();
  };

  const show = (button, ...nodes) => {
    button.nextElementSibling?.remove();
    button.after(Object.assign(document.createElement("div"), { className: "copied", role: "status" }));
    button.nextElementSibling.append(...nodes);
  };
  const showAddress = (button) => {
    const field = Object.assign(document.createElement("input"), { readOnly: true, value: address(), ariaLabel: "Link" });
    show(button, field);
    field.addEventListener("blur", () => field.parentElement?.remove());
    field.select();
  };
  // Before React hears of the click, since nothing else on the page changes
  const onClick = (event) => {
    const button = event.target.closest?.(".st-key-frame_copy button");
    if (!button) return;
    event.stopImmediatePropagation();
    write();
    if (!navigator.clipboard) return showAddress(button); // over plain HTTP from another computer
    navigator.clipboard.writeText(address()).then(
      () => {
        show(button, "Copied");
        const { nextElementSibling } = button;
        setTimeout(() => nextElementSibling.remove(), COPIED_MS);
      },
      () => showAddress(button),
    );
  };
  addEventListener("click", onClick, true);
}
