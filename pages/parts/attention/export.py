"""Export of one image: its attention as arrays, its map as a picture, and BertViz's views on the page and as files."""

import streamlit as st

from minivit.attention import head_title
from minivit.config import ViTConfig
from minivit.export import ImageExport
from minivit.export.image_export import MAX_BERTVIZ_VALUES
from minivit.runs import Run
from pages.parts.attention.values import is_large
from pages.parts.components.inspector import View
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.frame import download

TOKEN_PX = 23  # height of a token in BertViz's head view
MODEL_VIEW_PX = 900  # height of the model view, which scrolls


def export_section(run: Run, epoch: int, image: ImageId, view: View) -> None:
    """Files of one image, in the layer and head in view, then BertViz. Files are made on click."""
    layer = view.layer
    head = view.head
    export = cache.one_image(run, epoch, image)
    st.header("Export", anchor=False)
    st.caption(
        f"Layer {layer + 1}, {head_title(head)}; the arrays hold all layers and heads. The pictures include the scale."
    )
    name = export.file_name
    with st.container(horizontal=True):
        download(
            "Attention as JSON (the article's format)", lambda: export.json(layer, head), name("attention", ".json")
        )
        download("Arrays (.npz)", export.npz, name("attention", ".npz"))
        download("Map as PNG", lambda: export.picture(layer, head).render("png"), name("map", ".png"))
        download("Map as SVG", lambda: export.picture(layer, head).render("svg"), name("map", ".svg"))
        download("Map as PDF", lambda: export.picture(layer, head).render("pdf"), name("map", ".pdf"))
    _bertviz(run, image, export, layer)


def _bertviz(run: Run, image: ImageId, export: ImageExport, layer: int) -> None:
    config = run.config.model
    num_tokens = config.num_patches + 1
    st.header("BertViz", anchor=False)
    st.caption(
        "Lines connect a token (left) with the tokens it attends to (right). Hover over a token to see only its lines, "
        "and its patch. BertViz counts layers and heads from 0. The files work offline."
    )
    layers = _pick_layers(config, layer)
    if not layers:
        st.info("Select at least one layer to see BertViz.")
        return
    num_values = len(layers) * config.num_heads * num_tokens**2
    if num_values > MAX_BERTVIZ_VALUES:
        st.info(
            f"BertViz would draw {num_values:,} lines, too many for a browser. Select fewer layers, or export "
            "one layer and head as JSON or as a picture above."
        )
        return
    with st.container(horizontal=True):
        download("Head view as HTML", lambda: export.bertviz(layer, layers), export.file_name("bertviz", ".html"))
        download("Model view as HTML", lambda: export.bertviz_model(layers), export.file_name("bertviz-model", ".html"))
    if st.toggle("Show BertViz", key="bertviz", bind="query-params"):
        html = cache.bertviz(run, export.epoch, image, tuple(layers), layer)
        st.iframe(html, height=80 + TOKEN_PX * num_tokens)
    if st.toggle(f"Show the model view: all layers and heads ({num_values:,} lines)", key="bertviz_model"):
        st.iframe(cache.bertviz(run, export.epoch, image, tuple(layers)), height=MODEL_VIEW_PX)


def _pick_layers(config: ViTConfig, layer: int) -> list[int]:
    """Layers from 0; by default all, or the one in view for a large model; no widget for a single layer."""
    if config.depth == 1:
        return [0]
    layers = list(range(1, config.depth + 1))
    default = [layer + 1] if is_large(config) else layers
    numbers = st.multiselect("Layers in BertViz", layers, default, key=f"bertviz_layers_of_{config.depth}")
    return [layer - 1 for layer in sorted(numbers)]
