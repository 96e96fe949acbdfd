"""On to the next image of a kind: of a cell of the confusion matrix, or a mistake."""

import numpy as np
import streamlit as st

from minivit.inference import Predictions
from pages.parts.shell.url import param, set_params
from pages.parts.shell.wording import escape_markdown


def next_image(said: Predictions, classes: tuple[str, ...], image: int) -> None:
    """A button to the next image that fits the filter of the URL, as Predictions has it; else the next mistake."""
    true, predicted, answer = (param(name) for name in ("true", "predicted", "result"))
    numbers = {name: number for number, name in enumerate(classes)}
    if true not in numbers and predicted not in numbers and answer != "correct":
        answer = "incorrect"
    right = {"correct": True, "incorrect": False}.get(answer)
    fitting = said.select(true=numbers.get(true), predicted=numbers.get(predicted), correct=right)
    kind = " ".join(
        [answer if right is not None else "", true if true in numbers else "image",
         f"called {predicted}" if predicted in numbers else ""]
    ).split()  # fmt: skip
    following = np.roll(fitting, -int(np.searchsorted(fitting, image, side="right")))
    st.button(
        escape_markdown(f"Next {' '.join(kind)}"), key="attention_next", icon=":material/skip_next:",
        disabled=not len(following), help=f"{len(fitting):,} of {len(said.labels):,} test images are of this kind.",
        on_click=set_params, kwargs={"image": int(following[0])} if len(following) else {},
    )  # fmt: skip
