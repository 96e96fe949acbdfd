"""Export of one image: its attention as numbers, its map as a picture, and BertViz's views on the page and as files."""

from collections.abc import Callable

import streamlit as st

from minivit.attention import Head, write_head
from minivit.export import ImageExport
from minivit.runs import Run
from pages.parts.shell import cache

TOKEN_PX = 23  # height of a token in BertViz's head view
MODEL_VIEW_PX = 900  # height of the model view, which scrolls


def export_section(run: Run, epoch: int, image: int, layer: int, head: Head) -> None:
    """Files of one layer (from 0) and head of a test image, then BertViz. Files are made on click."""
    export = cache.one_image(run, epoch, image)
    st.header("Export", anchor=False)
    head_title = f"{head} over heads" if isinstance(head, str) else f"head {write_head(head)}"
    st.caption(
        f"Layer {layer + 1}, {head_title}; the arrays hold all layers and heads. The pictures include the scale."
    )
    with st.container(horizontal=True):
        _file(
            "Attention as JSON (the article's format)", lambda: export.json(layer, head), export, "attention", ".json"
        )
        _file("Arrays (.npz)", export.npz, export, "attention", ".npz")
        _file("Map as PNG", lambda: export.picture(layer, head).render("png"), export, "map", ".png")
        _file("Map as SVG", lambda: export.picture(layer, head).render("svg"), export, "map", ".svg")
        _file("Map as PDF", lambda: export.picture(layer, head).render("pdf"), export, "map", ".pdf")
    _bertviz(run, export, layer)


def _bertviz(run: Run, export: ImageExport, layer: int) -> None:
    num_layers, num_heads, num_tokens, _ = export.attn.shape
    st.header("BertViz", anchor=False)
    st.caption(
        "Lines connect a token (left) with the tokens it attends to (right). Hover over a token to see only its lines, "
        "and its patch. BertViz counts layers and heads from 0. The files work offline."
    )
    layers = _pick_layers(num_layers)
    if not layers:
        st.info("Select at least one layer to see BertViz.")
        return
    with st.container(horizontal=True):
        _file("Head view as HTML", lambda: export.bertviz(layer, layers), export, "bertviz", ".html")
        _file("Model view as HTML", lambda: export.bertviz_model(layers), export, "bertviz-model", ".html")
    if st.toggle("Show BertViz", key="bertviz", bind="query-params"):
        html = cache.bertviz(run, export.epoch, export.index, layer, tuple(layers))
        st.iframe(html, height=80 + TOKEN_PX * num_tokens)
    num_lines = len(layers) * num_heads * num_tokens**2
    if st.toggle(f"Show the model view: all layers and heads ({num_lines:,} lines)", key="bertviz_model"):
        st.iframe(cache.bertviz_model(run, export.epoch, export.index, tuple(layers)), height=MODEL_VIEW_PX)


def _pick_layers(num_layers: int) -> list[int]:
    """Layers from 0; no widget for a single layer."""
    if num_layers == 1:
        return [0]
    layers = list(range(1, num_layers + 1))
    selected = st.multiselect("Layers in BertViz", layers, layers, key=f"bertviz_layers_of_{num_layers}")
    return [layer - 1 for layer in sorted(selected)]


def _file(label: str, make: Callable[[], str | bytes], export: ImageExport, content: str, suffix: str) -> None:
    """A button that makes a file when it is clicked, and downloads it."""
    st.download_button(
        label,
        make,
        file_name=export.file_name(content, suffix),
        on_click="ignore",
        icon=":material/download:",
        key=f"take_{export.file_name(content, suffix)}_{label}",
    )
