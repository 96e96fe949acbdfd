// Pictures that are pasted or dropped anywhere on Attention go to its uploader, as soon as there is one.
(() => {
  let waiting = [];
  const isOnAttention = () => location.pathname.endsWith("/attention");
  const upload = () => {
    if (!isOnAttention()) {
      waiting = []; // the user left before there was one
      return observer.disconnect();
    }
    const input = document.querySelector(".st-key-attention_uploads input[type=file]");
    if (!input || input.disabled) return;
    observer.disconnect();
    const transfer = new DataTransfer();
    waiting.splice(0).forEach((file) => transfer.items.add(file)); // the uploader says which it cannot take
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const observer = new MutationObserver(upload);
  const isElsewhere = (event) => !isOnAttention() || event.target.closest?.("[data-testid=stFileUploaderDropzone]");
  const receive = (event, files) => {
    if (!files?.length || isElsewhere(event)) return;
    event.preventDefault();
    waiting.push(...files);
    observer.observe(document, { attributes: true, childList: true, subtree: true });
    upload();
  };
  addEventListener("paste", (event) => receive(event, event.clipboardData?.files));
  addEventListener("dragover", (event) => isElsewhere(event) || event.preventDefault());
  addEventListener("drop", (event) => receive(event, event.dataTransfer?.files));
})();
