"""Loss and accuracy by epoch, as charts that keep zoom and hidden curves while training goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from minivit.figures import SPLIT_COLORS, thin
from pages.parts.component import component, packed
from pages.parts.static import plotly_script


def live_curves(
    metrics: Sequence[Mapping[str, Any]], *, num_classes: int, key: str, marker_epoch: int | None = None
) -> int | None:
    """Draws loss and accuracy of the `metrics` rows; returns an epoch in the one rerun that follows a click on it.

    A row without a figure (None, as train_loss at epoch 0) is a gap. A vertical line stands at `marker_epoch`.
    Give each run its own `key`: zoom and hidden curves belong to it.
    """
    result = component("live_curves")(
        key=key,
        data={
            "key": key,
            "plotly": plotly_script(),
            "colors": SPLIT_COLORS,
            "chance": 100 / num_classes,
            "marker": marker_epoch,
            "curves": _curves(key, len(metrics), [list(row.values()) for row in metrics[-1:]], metrics),
        },
        on_picked_change=lambda: None,
    )
    return None if result.picked is None else int(result.picked)


@st.cache_resource(max_entries=32, show_spinner=False)
def _curves(key: str, num_rows: int, last: list[Any], _metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curves as they are sent, made once for all watchers of these rows."""
    return {
        "loss": {"train": _curve(_metrics, "train_loss"), "held-out": _curve(_metrics, "test_loss")},
        "accuracy": {"train": _curve(_metrics, "train_acc", 100), "held-out": _curve(_metrics, "test_acc", 100)},
    }


def _curve(metrics: Sequence[Mapping[str, Any]], column: str, scale: float = 1) -> dict[str, Any]:
    """Epochs and values of one column, thinned and packed, (2, n) float32."""
    epochs = np.array([row["epoch"] for row in metrics], float)
    values = np.array([np.nan if row.get(column) is None else row[column] for row in metrics], float)
    return packed(np.stack(thin(epochs, values * scale)).astype(np.float32))
