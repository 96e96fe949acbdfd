"""What a person takes along from one image: numbers, the map as a picture, and BertViz's views, here and as files."""

from collections.abc import Callable

import streamlit as st

from minivit.attention import Head, write_head
from minivit.export import ImageExport
from minivit.runs import Run
from pages.parts.shell import cache

ROW_PX = 23  # of a token in BertViz's head view
VIEW_PX = 900  # of the model view, which scrolls


def take_along(run: Run, epoch: int, image: int, layer: int, head: Head) -> None:
    """The section: files of one layer (from 0) and head of a test image, then BertViz. Files are made on click."""
    one = cache.one_image(run, epoch, image)
    st.header("Take it along", anchor=False)
    by = f"{head} over heads" if isinstance(head, str) else f"head {write_head(head)}"
    st.caption(f"Layer {layer + 1}, {by}; the arrays hold all layers and heads. The pictures carry their scale.")
    with st.container(horizontal=True):
        _file(
            "Attention as JSON (the article's form)", lambda: one.json(layer, head), one.file_name("attention", ".json")
        )
        _file("Arrays (.npz)", one.npz, one.file_name("attention", ".npz"))
        _file("Map as PNG", lambda: one.picture(layer, head).render("png"), one.file_name("map", ".png"))
        _file("Map as SVG", lambda: one.picture(layer, head).render("svg"), one.file_name("map", ".svg"))
        _file("Map as PDF", lambda: one.picture(layer, head).render("pdf"), one.file_name("map", ".pdf"))
    _bertviz(run, one, layer)


def _bertviz(run: Run, one: ImageExport, layer: int) -> None:
    num_layers, num_heads, num_tokens, _ = one.attn.shape
    st.header("BertViz", anchor=False)
    st.caption(
        "Lines join a token (left) with the tokens it looks at (right). Point at a token to see its lines alone, and "
        "its patch beside it. BertViz counts layers and heads from 0. The files work without a network."
    )
    layers = _choose_layers(num_layers)
    if not layers:
        st.info("Choose at least one layer to see BertViz.")
        return
    with st.container(horizontal=True):
        _file("Head view as HTML", lambda: one.bertviz(layer, layers), one.file_name("bertviz", ".html"))
        _file("Model view as HTML", lambda: one.bertviz_model(layers), one.file_name("bertviz-model", ".html"))
    if st.toggle("Show BertViz", key="bertviz", bind="query-params"):
        shown = cache.bertviz(run, one.epoch, one.index, layer, tuple(layers))
        st.iframe(shown, height=80 + ROW_PX * num_tokens)
    num_lines = len(layers) * num_heads * num_tokens**2
    if st.toggle(f"Show the model view, every layer and head at once ({num_lines:,} lines)", key="bertviz_model"):
        st.iframe(cache.bertviz_model(run, one.epoch, one.index, tuple(layers)), height=VIEW_PX)


def _choose_layers(num_layers: int) -> list[int]:
    """Layers from 0; a model of one has nothing to choose."""
    if num_layers == 1:
        return [0]
    numbers = list(range(1, num_layers + 1))
    chosen = st.multiselect("Layers in BertViz", numbers, numbers, key=f"bertviz_layers_of_{num_layers}")
    return [number - 1 for number in sorted(chosen)]


def _file(label: str, make: Callable[[], str | bytes], name: str) -> None:
    """A button that makes a file when it is clicked, and saves it under `name`."""
    st.download_button(
        label, make, file_name=name, on_click="ignore", icon=":material/download:", key=f"take_{name}_{label}"
    )
