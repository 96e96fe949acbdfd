// Pictures that are pasted or dropped anywhere on the page are passed to the uploader.
(() => {
  const upload = (event, files) => {
    const input = document.querySelector(".st-key-attention_uploads input[type=file]");
    if (!input || !files?.length || event.target.closest?.("[data-testid=stFileUploaderDropzone]")) return;
    event.preventDefault();
    const transfer = new DataTransfer();
    [...files].forEach((file) => transfer.items.add(file)); // the uploader says which it cannot take
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  window.minivitPictures?.abort(); // the page was redrawn
  window.minivitPictures = new AbortController();
  const { signal } = window.minivitPictures;
  document.addEventListener("paste", (event) => upload(event, event.clipboardData?.files), { signal });
  document.addEventListener("dragover", (event) => event.preventDefault(), { signal });
  document.addEventListener("drop", (event) => upload(event, event.dataTransfer?.files), { signal });
})();
