"""Which test images Compare draws: by their predictions before and after."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from minivit.data.image_set import evenly_spaced
from minivit.inference import Predictions
from pages.parts.shell.url import bind_to_url, param

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
FORMER_NAMES = {  # in links that earlier versions wrote
    "Right or wrong": "all",
    "Wrong before, right after": "corrected",
    "Right before, wrong after": "lost",
    "Wrong after": "incorrect",
}


def pick_selection(of_two: bool) -> str:
    """The URL's selection, `images`, or all images; some selections need two runs."""
    selections = SELECTIONS | OF_TWO if of_two else SELECTIONS
    name = FORMER_NAMES.get(param("images"), param("images"))

    def selectbox(**options: Any) -> str:
        return st.selectbox("Images", selections, format_func=selections.__getitem__, **options)

    return bind_to_url("images", name if name in selections else "all", selectbox)


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
