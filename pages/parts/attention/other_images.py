"""The neighbors of a test image."""

import streamlit as st

from minivit.data import ImageSet
from pages.parts.components.gallery import Title, gallery
from pages.parts.shell.url import set_params

NUM_BEFORE, NUM_AFTER = 6, 18


def other_images(test_set: ImageSet, index: int) -> None:
    """Test images around `index` to pick from, drawn when the user opens them."""
    with st.expander("Other images", key="attention_others_open", on_change="rerun") as others:
        if not others.open:
            return
        indices = list(range(max(0, index - NUM_BEFORE), min(len(test_set), index + NUM_AFTER)))
        titles = [Title(other, test_set.classes[test_set.labels[other]]) for other in indices]
        images = test_set.images[indices].numpy()
        clicked = gallery(images, titles, key="attention_others", label="Other test images", selected=index)
        if clicked is not None:
            set_params(image=clicked, picture=None)
            st.rerun()
