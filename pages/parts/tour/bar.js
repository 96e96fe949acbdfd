// On a phone, where what stands side by side elsewhere is one below the other, to the part that is outlined
((target, outlined) => {
  const find = () => {
    if (innerWidth > 640) return document.querySelector(`.st-key-${target}`);
    const element = document.querySelector(`.st-key-${outlined}`);
    const framed = [...(element?.querySelectorAll("*") ?? [])].map((node) => node.shadowRoot?.querySelector(".framed"));
    return framed.find(Boolean) ?? element;
  };
  window.scrollBelow?.(find, () => document.querySelector(".st-key-tour_bar"));
})
