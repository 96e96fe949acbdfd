"""Forms that import an exported run, or a model from another library."""

import streamlit as st

from minivit.imports import NORMALIZATIONS, ImportOptions, import_model
from minivit.runs.archive import unpack
from pages.parts.shell.frame import show_errors
from pages.parts.shell.url import go

NORMALIZATION_TITLES = {
    "half": "mean 0.5, deviation 0.5 (timm's ViTs)",
    "imagenet": "ImageNet's mean and deviation",
    "none": "none",
}


def import_forms() -> None:
    """Both forms; each opens the imported run."""
    with st.expander("Import a run"), show_errors(), st.form("runs_import_run", border=False):
        archive = st.file_uploader("Exported run (.zip)", type="zip")
        if st.form_submit_button("Import this run") and archive:
            go("predictions", run=unpack(archive).id)
    with st.expander("Import a model"), show_errors(), st.form("runs_import_model", border=False):
        st.caption(
            "A ViT classifier of timm's vision_transformer family. Its architecture is read from the weights; nothing "
            "in the file is executed. Epoch 0 of the run is the same architecture with random weights."
        )
        file = st.text_input("Weights file", placeholder="/path/to/vit.safetensors")
        folder = st.text_input("Image folder", placeholder="/path/to/images, with one folder per class")
        names = st.text_input("Class names (optional)", placeholder="/path/to/names.txt, one per line")
        left, middle, right = st.columns(3)
        num_heads = left.number_input(
            "Heads", 0, 64, 0, help="The weights do not tell; 0 assumes 64 dimensions per head."
        )
        limit = middle.number_input("Images per class", 0, 1_000_000, 20, help="0 takes all.")
        normalization = right.selectbox("Normalization", NORMALIZATIONS, format_func=NORMALIZATION_TITLES.__getitem__)
        if st.form_submit_button("Import this model"):
            options = ImportOptions(num_heads, normalization, _path(names) or None, limit)
            go("attention", run=import_model(_path(file), _path(folder), options).id)


def _path(text: str) -> str:
    return text.strip(" \"'")
