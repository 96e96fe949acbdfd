"""The prediction for one image and the probabilities of its classes."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

MAX_CLASSES = 10  # in the table


def probabilities(
    classes: Sequence[str],
    probs: NDArray[np.float32],
    true: int | None,
    masked: NDArray[np.float32] | None = None,
    num_masked: int = 0,
) -> None:
    """The prediction as a sentence and the probabilities (K,) as a table with bars, the most probable class first.

    `masked` are the probabilities with `num_masked` patches masked, as a second column.
    """
    if not len(probs):
        st.info("This model has no classifier head, so it predicts no class.", icon=":material/info:")
        return
    order = np.argsort(-probs, kind="stable")[:MAX_CLASSES]
    _prediction(classes, probs, true)
    columns = {"probability": probs}
    if masked is not None:
        patches = f"{num_masked} patch{'es' if num_masked > 1 else ''} masked"
        _prediction(classes, masked, true, f"With {patches}: ")
        columns = {"all patches": probs, patches: masked}
    width = None if masked is None else 125  # both columns fit on a phone
    st.dataframe(
        {
            "class": [classes[k] + (" (true)" if k == true else "") for k in order],
            **{name: values[order].astype(float) for name, values in columns.items()},
        },
        column_config={
            name: st.column_config.ProgressColumn(name, format="percent", min_value=0, max_value=1, width=width)
            for name in columns
        },
        hide_index=True,
    )


def prediction(classes: Sequence[str], probs: NDArray[np.float32], true: int | None) -> str:
    """The prediction as a sentence, followed by the true class if it is known."""
    if not len(probs):
        return "" if true is None else f"Class: {classes[true]}."
    predicted = int(np.argmax(probs))
    sentence = f"Predicted: {classes[predicted]} ({probs[predicted]:.1%})."
    return sentence if true is None else f"{sentence} True class: {classes[true]}."


def _prediction(classes: Sequence[str], probs: NDArray[np.float32], true: int | None, prefix: str = "") -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if true is not None and np.argmax(probs) == true:
            st.badge("correct", color="green", icon=":material/check:")
        elif true is not None:
            st.badge("incorrect", color="red", icon=":material/close:")
        st.text(prefix + prediction(classes, probs, true))
