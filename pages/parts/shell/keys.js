// Presentation mode: arrow keys, and the page keys that a presenter's remote control sends, go to the previous and next
// step of the tour or image; Escape leaves. A key is left to what uses it itself.
addEventListener("keydown", (event) => {
  const leave = document.querySelector(".st-key-frame_leave button");
  const ownKeys = "input, select, textarea, [role=slider], [role=radiogroup], [role=dialog], [role=listbox], [role=tablist]";
  if (!leave || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.composedPath()[0].closest?.(ownKeys) || document.querySelector("[role=dialog]")) return;
  const previous = ".st-key-tour_back a, .st-key-frame_Previous button";
  const next = ".st-key-tour_next a, .st-key-frame_Next button";
  const selector = { ArrowLeft: previous, PageUp: previous, ArrowRight: next, PageDown: next }[event.key];
  // In the tour its own steps come first in the document
  const target = event.key === "Escape" ? leave : selector && document.querySelector(selector);
  if (!target) return;
  event.preventDefault();
  target.click();
});
