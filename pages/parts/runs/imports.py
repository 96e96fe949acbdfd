"""Forms that import an exported run, or a model from another library."""

from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from minivit.imports import GLOBAL_POOLS, NORMALIZATIONS, ImportOptions, import_model
from minivit.layers import ACTIVATIONS
from minivit.runs.archive import unpack
from pages.parts.shell.access import allowed_path, may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.progress import progress
from pages.parts.shell.url import open_page

MAX_UPLOAD_MB = 1024  # of a file, which the server keeps in memory; paths have no such limit
WEIGHT_TYPES = ["safetensors", "pth", "pt", "bin", "ckpt", "tar"]
NORMALIZATION_TITLES = {
    "half": "mean 0.5, std 0.5 (timm's ViTs)",
    "imagenet": "ImageNet mean and std",
    "none": "none",
}
POOL_TITLES = {"token": "CLS", "avg": "mean of the patches"}


def import_forms() -> None:
    """Both forms; each opens the imported run."""
    if not may_change():
        return
    with (
        st.expander("Import a run", key="runs_import_run_open"),
        show_errors(),
        st.form("runs_import_run", border=False),
    ):
        archive = st.file_uploader("Exported run (.zip)", type="zip", max_upload_size=MAX_UPLOAD_MB)
        if st.form_submit_button("Import this run") and archive:
            open_page("predictions", run=unpack(archive).id)
    with (
        st.expander("Import a model", key="runs_import_model_open"),
        show_errors(),
        st.form("runs_import_model", border=False),
    ):
        st.caption(
            "A ViT, DeiT, DINO, DINOv2 or DINOv3 from timm, Hugging Face or torchvision: a weights file, or a "
            "directory written by `save_pretrained`. Its architecture is read from the weights and their metadata; "
            "nothing in the file is executed. Epoch 0 of the run is the same architecture with random weights."
        )
        upload = st.file_uploader("Weights file", type=WEIGHT_TYPES, max_upload_size=MAX_UPLOAD_MB)
        file = st.text_input("Weights", placeholder="or /path/to/vit.safetensors, or a model directory")
        folder = st.text_input("Image folder", placeholder="/path/to/images, with one folder per class")
        names = st.text_input("Class names (optional)", placeholder="/path/to/names.txt, one per line")
        boxes = st.columns(6)
        num_heads = boxes[0].number_input("Heads", 0, 64, 0, help="0: from the metadata, else 64 dimensions per head.")
        limit = boxes[1].number_input("Images per class", 0, 1_000_000, 20, help="0 uses all.")
        normalization = boxes[2].selectbox(
            "Normalization",
            NORMALIZATIONS,
            None,
            NORMALIZATION_TITLES.__getitem__,
            placeholder="from the metadata",
        )
        act = boxes[3].selectbox("Activation", ACTIVATIONS, None, placeholder="from the metadata, else gelu")
        pool = boxes[5].selectbox(
            "Head reads", GLOBAL_POOLS, None, POOL_TITLES.__getitem__, placeholder="from the metadata"
        )
        img_size = boxes[4].number_input("Image size", 0, 1024, 0, help="In px. 0: from the metadata or the weights.")
        if st.form_submit_button("Import this model"):
            options = ImportOptions(
                num_heads or None, normalization, _path(names) or None, limit, act, img_size or None, pool
            )
            with TemporaryDirectory() as temporary:
                path = Path(_path(file))
                if upload:
                    path = Path(temporary) / Path(upload.name).name
                    path.write_bytes(upload.getbuffer())
                with progress("Importing the model") as report:
                    run = import_model(
                        path, _path(folder), options, progress=lambda text, done, total: report(done / total)
                    )
            open_page("attention", run=run.id)


def _path(text: str) -> str:
    return allowed_path(text.strip(" \"'"))
