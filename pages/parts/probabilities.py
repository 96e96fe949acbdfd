"""What a model says of one image, class by class."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

MOST = 10  # classes shown


def probabilities(classes: Sequence[str], probs: NDArray[np.float32], true: int) -> None:
    """The verdict in words and the probabilities (K,) as a table with bars, the most probable first."""
    order = np.argsort(-probs, kind="stable")
    said = int(order[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        if said == true:
            st.badge("right", color="green", icon=":material/check:")
        else:
            st.badge("wrong", color="red", icon=":material/close:")
        st.text(f"says {classes[said]} with {probs[said]:.0%}; it is {classes[true]}")
    st.dataframe(
        {
            "class": [classes[k] + (" (true)" if k == true else "") for k in order[:MOST]],
            "probability": [float(probs[k]) for k in order[:MOST]],
        },
        column_config={
            "probability": st.column_config.ProgressColumn("probability", format="percent", min_value=0, max_value=1)
        },
        hide_index=True,
    )
