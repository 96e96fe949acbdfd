"""Other images: a button to the next one of a cell of the confusion matrix or the next mistake, and the neighbors."""

import numpy as np
import streamlit as st

from minivit.data import ImageSet
from minivit.inference import Predictions
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param, set_params
from pages.parts.shell.wording import escape_markdown

NUM_BEFORE, NUM_AFTER = 6, 18


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
    following = np.roll(matches, -int(np.searchsorted(matches, -1 if isinstance(image, str) else image, side="right")))
    st.button(
        escape_markdown(f"Next {title}"),
        key="attention_next",
        icon=":material/skip_next:",
        disabled=not len(following),
        help=f"{len(matches):,} of {len(predictions.labels):,} test images match.",
        on_click=set_params,
        kwargs={"image": int(following[0]), "picture": None} if len(following) else {},
    )


def other_images(test_set: ImageSet, index: int) -> None:
    """Test images around `index` to pick from, drawn when the user opens them."""
    with st.expander("Other images", key="attention_others_open", on_change="rerun") as others:
        if not others.open:
            return
        indices = list(range(max(0, index - NUM_BEFORE), min(len(test_set), index + NUM_AFTER)))
        titles = [GalleryItem(other, test_set.classes[test_set.labels[other]]) for other in indices]
        images = test_set.images[indices].numpy()
        clicked = gallery(images, titles, key="attention_others", label="Other test images", selected=index)
        if clicked is not None:
            set_params(image=clicked, picture=None)
            st.rerun()
