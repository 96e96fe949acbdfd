"""Compare's own widgets: a second run on the same test images, layers and heads of both, and which images are drawn."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from minivit.attention import Head
from minivit.data.image_set import evenly_spaced
from minivit.inference import Predictions
from minivit.runs import Run, find_run, runs_to_open
from minivit.runs.comparison import image_difference
from pages.parts.shell.frame import NextStep
from pages.parts.shell.pickers import neighbor_buttons, pick_heads, pick_layer
from pages.parts.shell.url import bind_to_url, int_param, param, pick_param
from pages.parts.shell.wording import run_options

NUM_IMAGES = 8
SELECTIONS = {
    "all": "All images",
    "corrected": "Incorrect before, correct after",
    "lost": "Correct before, incorrect after",
    "incorrect": "Incorrect after",
}
OF_TWO = {
    "first": "Correct in the first run only",
    "second": "Correct in the second run only",
}


def pick_second_run(run: Run) -> Run | None:
    """The URL's second run, `run2`, or None.

    Raises NextStep if it was trained on other images, RunError if it does not exist.
    """
    comparable = (other for other in runs_to_open() if not image_difference(run, other))
    others = {other.id: other for other in comparable if other.id != run.id}
    url_id = param("run2")
    current = url_id if url_id in others else None
    titles = run_options(list(others.values()), run.sweep, others[current].sweep if current else "")
    text = "A run to compare with, on the same images. Patch sizes and numbers of layers may differ."
    selection = bind_to_url(
        "run2",
        current,
        st.selectbox,
        "Second run",
        list(titles),
        index=None,
        format_func=titles.__getitem__,
        placeholder="none",
        help=text if others else "No other run has the same data set, classes and split.",
        disabled=not others,
    )
    if selection is not None:
        return others[selection]
    if url_id and url_id != run.id:
        raise NextStep(
            f"The two runs have different test images: {image_difference(run, find_run(url_id))}. Choose a "
            "second run with the same data set, classes and split, or none."
        )
    return None


def pick_layers_and_heads(runs: Sequence[Run]) -> tuple[list[int], list[Head]]:
    """A layer of each run, and heads that both have; all heads of a layer only for a single run."""
    models = [run.config.model for run in runs]
    boxes = iter(st.columns([1, 1, 1, 2.7]))  # a picker without a choice draws no widget and takes no box
    first_layer = _pick_in(boxes, models[0].depth, "Layer", "layer")
    num_heads = min(model.num_heads for model in models)
    with next(boxes) if num_heads > 1 else st.container():
        heads = pick_heads(num_heads, each=len(runs) == 1)
    more_layers = [_pick_in(boxes, model.depth, "Layer of the second run", "layer2") for model in models[1:]]
    return [first_layer, *more_layers], heads


def _pick_in(boxes: Any, depth: int, label: str, name: str) -> int:
    with next(boxes) if depth > 1 else st.container():
        return pick_layer(depth, label, name)


def pick_selection(of_two: bool) -> str:
    """The URL's selection, `images`, or all images; some selections need two runs."""
    selections = SELECTIONS | OF_TWO if of_two else SELECTIONS
    return pick_param("images", "all", st.selectbox, "Images", list(selections), format_func=selections.__getitem__)


def pick_one(images: Sequence[int]) -> int:
    """The URL's image if it is one of these, else the first; with buttons for its neighbors."""
    image = int_param("image", list(images), images[0])
    neighbor_buttons(images, image)
    return image


def select_images(selection: str, num_images: int, predictions: Callable[[], list[Predictions]]) -> list[int]:
    """The indices of at most `NUM_IMAGES` evenly spaced test images of a selection.

    `predictions` computes those before and after, or of the first and the second run, unless all images are selected.
    If they are incomplete, only images that both include are selected.
    """
    if selection == "all":
        return evenly_spaced(num_images, NUM_IMAGES)
    before, after = (each.correct for each in predictions())
    before, after = before[: len(after)], after[: len(before)]
    matches = {
        "corrected": ~before & after,
        "lost": before & ~after,
        "incorrect": ~after,
        "first": before & ~after,
        "second": after & ~before,
    }[selection].nonzero()[0]
    return matches[evenly_spaced(len(matches), NUM_IMAGES)].tolist() if len(matches) else []
