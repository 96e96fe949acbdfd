"""Two sets of maps in numbers: how right the models are and how evenly they look."""

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention import entropy


def spread(columns: Mapping[str, NDArray[np.float32]], accuracies: Sequence[float]) -> None:
    """A line of figures for each column of maps (B, N-1)."""
    rows = [
        {
            "model": name,
            "held-out accuracy": accuracy,
            "entropy of the maps shown": float(entropy(torch.from_numpy(maps)).mean()),
        }
        for (name, maps), accuracy in zip(columns.items(), accuracies, strict=True)
    ]
    st.dataframe(
        rows,
        column_config={
            "held-out accuracy": st.column_config.NumberColumn(format="percent"),
            "entropy of the maps shown": st.column_config.NumberColumn(
                format="%.4f", help="How evenly they are spread: 1 is uniform, 0 is all on one patch."
            ),
        },
        hide_index=True,
    )
