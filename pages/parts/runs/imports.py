"""Forms that import an exported run, or a model from another library."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from minivit.imports import GLOBAL_POOLS, NORMALIZATIONS, ImportOptions, import_model
from minivit.layers import ACTIVATIONS
from minivit.runs.archive import unpack
from pages.parts.settings.browse import browse_folders
from pages.parts.shell.access import allowed_path, may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.progress import progress
from pages.parts.shell.url import open_page

MAX_UPLOAD_MB = 1024  # of a file, which the server keeps in memory; paths have no such limit
WEIGHT_TYPES = ["safetensors", "pth", "pt", "bin", "ckpt", "tar"]
NORMALIZATION_TITLES = {
    "half": "mean 0.5, std 0.5 (timm's ViTs)",
    "imagenet": "ImageNet mean and std",
    "clip": "CLIP mean and std",
    "none": "none",
}
METADATA = "from the metadata"
FOLDER = "runs_import_folder"  # key of the field
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
    with st.expander("Import a model", key="runs_import_model_open"), show_errors():
        st.caption(
            "A ViT, DeiT, DINO, DINOv2 or DINOv3 from timm, Hugging Face or torchvision: a weights file, or a "
            "directory written by `save_pretrained`. Its architecture is read from the weights and their metadata; "
            "nothing in the file is executed. Epoch 0 of the run is the same architecture with random weights."
        )
        browse_folders(FOLDER)
        with st.form("runs_import_model", border=False):
            _model_form()


def _model_form() -> None:
    """The fields for a model; a click on the button imports it and opens the run."""
    model, images = st.columns(2)
    upload = model.file_uploader("Weights file", type=WEIGHT_TYPES, max_upload_size=MAX_UPLOAD_MB)
    file = model.text_input("Weights", placeholder="or /path/to/vit.safetensors, or a model directory")
    folder = images.text_input("Image folder", key=FOLDER, placeholder="/path/to/images, with one folder per class")
    limit = images.number_input("Images per class", 0, 1_000_000, 20, help="0 uses all.")
    names, options = _model_options(limit)
    if st.form_submit_button("Import this model"):
        options = replace(options, class_names=_path(names) or None)
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


def _model_options(limit: int) -> tuple[str, ImportOptions]:
    """The fields for what the metadata may lack: the path of the class names as typed, and the other options."""
    with st.expander("Override or complete the metadata", key="runs_import_options"):
        boxes = st.columns(3)
        names = boxes[0].text_input("Class names", placeholder="/path/to/names.txt, one per line")
        normalization = boxes[1].selectbox(
            "Normalization", NORMALIZATIONS, None, NORMALIZATION_TITLES.__getitem__, placeholder=METADATA
        )
        act = boxes[2].selectbox("Activation", ACTIVATIONS, None, placeholder=f"{METADATA}, else gelu")
        boxes = st.columns(3)
        num_heads = boxes[0].number_input(
            "Heads", 1, 64, None, placeholder=METADATA, help="If the metadata lack it, 64 dimensions per head."
        )
        img_size = boxes[1].number_input("Image size (px)", 1, 1024, None, placeholder=METADATA)
        pool = boxes[2].selectbox("Head reads", GLOBAL_POOLS, None, POOL_TITLES.__getitem__, placeholder=METADATA)
    return names, ImportOptions(num_heads, normalization, None, limit, act, img_size, pool)


def _path(text: str) -> str:
    return allowed_path(text.strip(" \"'"))
