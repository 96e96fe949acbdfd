"""Two sets of maps in numbers: how right the models are, how evenly they look, how much that varies by image."""

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention import entropy, image_dependence


def spread(columns: Mapping[str, NDArray[np.float32]], accuracies: Sequence[float]) -> None:
    """A line of figures for each column of maps (B, N-1)."""
    rows = [
        {
            "model": name,
            "held-out accuracy": accuracy,
            "entropy": float(entropy(torch.from_numpy(maps)).mean()),
            "varies by image": float(image_dependence(torch.from_numpy(maps))) if len(maps) > 1 else None,
        }
        for (name, maps), accuracy in zip(columns.items(), accuracies, strict=True)
    ]
    st.dataframe(
        rows,
        column_config={
            "held-out accuracy": st.column_config.NumberColumn(format="percent"),
            "entropy": st.column_config.NumberColumn(
                format="%.4f", help="How evenly the maps shown are spread: 1 is uniform, 0 is all on one patch."
            ),
            "varies by image": st.column_config.NumberColumn(
                format="%.3f",
                help="1 − the mean correlation between the maps shown: 0 is the same map for every image.",
            ),
        },
        hide_index=True,
    )
