"""Which test images Compare draws: by their predictions before and after."""

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
FORMER_NAMES = {  # in links that earlier versions wrote
    "Right or wrong": "all",
    "Wrong before, right after": "corrected",
    "Right before, wrong after": "lost",
    "Wrong after": "incorrect",
}


def pick_selection() -> str:
    """The URL's selection, `images`, or all images."""
    name = FORMER_NAMES.get(param("images"), param("images"))

    def selectbox(**options: Any) -> str:
        return st.selectbox("Images", SELECTIONS, format_func=SELECTIONS.__getitem__, **options)

    return bind_to_url("images", name if name in SELECTIONS else "all", selectbox)


def select_images(selection: str, before: Predictions, after: Predictions) -> list[int]:
    """The indices of at most `NUM_IMAGES` evenly spaced test images of a selection."""
    matches = {
        "all": after.labels >= 0,
        "corrected": ~before.correct & after.correct,
        "lost": before.correct & ~after.correct,
        "incorrect": ~after.correct,
    }[selection].nonzero()[0]
    return matches[evenly_spaced(len(matches), NUM_IMAGES)].tolist() if len(matches) else []
