// Shows the patch of the token under the pointer, enlarged, and its position in the image. BertViz draws each token
// as a group with its name as text; this script listens on the page and does not change BertViz's code.
{
  const SIDE = 112; // px of each of the two pictures
  const GAP = 12;
  const box = document.createElement("div");
  const [patch, whole, mark, caption] = ["div", "div", "div", "div"].map((tag) => document.createElement(tag));
  const style = (node, rules) => Object.assign(node.style, rules);
  const picture = { width: `${SIDE}px`, height: `${SIDE}px`, backgroundImage: `url(${PEEK.image})` };
  box.id = "peek";
  box.setAttribute("role", "img");
  style(box, {
    position: "absolute", display: "none", pointerEvents: "none", background: "white", padding: "8px", width: "max-content",
    border: "1px solid #bbb", borderRadius: "6px", font: "13px Helvetica, Arial, sans-serif", color: "black",
  });
  for (const view of [patch, whole]) style(view, { ...picture, imageRendering: "pixelated", display: "inline-block" });
  style(whole, { position: "relative", backgroundSize: "100% 100%", marginLeft: "8px" });
  const share = 100 / PEEK.grid;
  style(mark, {
    position: "absolute", boxSizing: "border-box", width: `${share}%`, height: `${share}%`,
    border: "1px solid white", outline: "1px solid black",
  });
  whole.append(mark);
  box.append(patch, whole, caption);
  document.body.append(box);

  const nameOf = (target) => target.closest?.("g")?.querySelector(":scope > text")?.textContent ?? "";

  function show(name, token) {
    const index = name === "[CLS]" ? -1 : Number(/^p(\d+)$/.exec(name)?.[1] ?? NaN);
    if (Number.isNaN(index)) return hide();
    const [row, column] = [Math.floor(index / PEEK.grid), index % PEEK.grid];
    patch.style.display = index < 0 ? "none" : "inline-block";
    mark.style.display = index < 0 ? "none" : "block";
    patch.style.backgroundSize = `${100 * PEEK.grid}% ${100 * PEEK.grid}%`;
    patch.style.backgroundPosition = `${-column * SIDE}px ${-row * SIDE}px`;
    style(mark, { left: `${column * share}%`, top: `${row * share}%` });
    caption.textContent = index < 0 ? "CLS represents the entire image" : `${name}: row ${row + 1}, column ${column + 1}`;
    box.setAttribute("aria-label", caption.textContent);
    box.style.display = "block";
    const names = document.querySelector("rect.detail, #right").getBoundingClientRect();
    const right = names.right + GAP;
    const left = right + box.offsetWidth > Math.max(innerWidth, 970) ? names.left - GAP - box.offsetWidth : right;
    const top = token.getBoundingClientRect().top - 40;
    style(box, {
      left: `${Math.max(0, left) + scrollX}px`,
      top: `${Math.max(0, Math.min(top, innerHeight - box.offsetHeight)) + scrollY}px`,
    });
  }

  const hide = () => style(box, { display: "none" });

  document.addEventListener("mouseover", ({ target }) => {
    const name = nameOf(target);
    if (name) show(name, target);
    else hide();
  });
}
