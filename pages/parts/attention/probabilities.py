"""What a model says of one image, class by class."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

MOST = 10  # classes shown


def probabilities(
    classes: Sequence[str],
    probs: NDArray[np.float32],
    true: int,
    without: NDArray[np.float32] | None = None,
    num_off: int = 0,
) -> None:
    """The verdict in words and the probabilities (K,) as a table with bars, the most probable first.

    `without` are those with `num_off` patches switched off, beside the others.
    """
    order = np.argsort(-probs, kind="stable")[:MOST]
    _verdict(classes, probs, true)
    columns = {"probability": probs}
    if without is not None:
        patches = f"{num_off} patch{'es' if num_off > 1 else ''} off"
        _verdict(classes, without, true, f"with {patches} ")
        columns = {"all patches on": probs, patches: without}
    width = None if without is None else 125  # both fit a phone
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


def _verdict(classes: Sequence[str], probs: NDArray[np.float32], true: int, when: str = "") -> None:
    said = int(np.argmax(probs))
    with st.container(horizontal=True, vertical_alignment="center"):
        if said == true:
            st.badge("right", color="green", icon=":material/check:")
        else:
            st.badge("wrong", color="red", icon=":material/close:")
        st.text(f"{when}says {classes[said]} with {probs[said]:.0%}; it is {classes[true]}")
