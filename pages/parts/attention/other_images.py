"""Other test images: the next match of the filter set on Predictions, and the neighbors of the one in view."""

import numpy as np
import streamlit as st

from minivit.data import ImageSet
from minivit.inference import Predictions
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param, param_button, set_params
from pages.parts.shell.wording import escape_markdown

NUM_BEFORE = 6  # neighbors of the image in view
NUM_AFTER = 18


def next_match(predictions: Predictions, classes: tuple[str, ...], image: ImageId) -> None:
    """A button to the next image that matches the filter in the URL, set on Predictions; else the next mistake."""
    index = {name: index for index, name in enumerate(classes)}
    true, predicted = (param(name) if param(name) in index else None for name in ("true", "predicted"))
    correct = {"correct": True, "incorrect": False}.get(param("result"))
    if true is None and predicted is None and correct is None:
        correct = False
    matches = predictions.select(
        true=None if true is None else index[true],
        predicted=None if predicted is None else index[predicted],
        correct=correct,
    )
    words = {True: "correct ", False: "incorrect ", None: ""}[correct] + (true or "image")
    title = f"{words} → {predicted}" if predicted else words
    index_in_view = -1 if isinstance(image, str) else image
    next_images = np.roll(matches, -int(np.searchsorted(matches, index_in_view, side="right")))
    param_button(
        escape_markdown(f"Next {title}"),
        "attention_next",
        {"image": int(next_images[0]), "picture": None} if len(next_images) else {},
        icon=":material/skip_next:",
        disabled=not len(next_images),
        help=f"{len(matches):,} of {len(predictions.labels):,} test images match.",
    )


def other_images(test_set: ImageSet, index: int) -> None:
    """Test images around `index` to pick from, drawn when the user opens them."""
    with st.expander("Other images", key="attention_others_open", on_change="rerun") as others:
        if not others.open:
            return
        indices = list(range(max(0, index - NUM_BEFORE), min(len(test_set), index + NUM_AFTER)))
        titles = [GalleryItem(other, test_set.classes[test_set.labels[other]]) for other in indices]
        images = test_set.images[indices].numpy()
        click = gallery(images, titles, key="attention_others", label="Other test images", selected=index)
        if click is not None:
            set_params(image=click, picture=None)
            st.rerun()
