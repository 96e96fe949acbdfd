"""A live run: headline, loss and accuracy by epoch, and maps, as one component that is updated in place.

The charts keep zoom and hidden curves. The payload is one string of bytes, encoded once for all viewers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from minivit.figures import SPLIT_COLORS, downsample
from pages.parts.components.component import PackedArray, component, packed
from pages.parts.components.maps import MapsData
from pages.parts.components.plotly_script import plotly_script

CURVES = {
    "loss": {"train": ("train_loss", 1), "test": ("test_loss", 1)},
    "accuracy": {"train": ("train_acc", 100), "test": ("test_acc", 100)},
}


class LiveCurvesData(TypedDict):
    """What `live_curves.js` draws."""

    key: str
    plotly: str  # the path of Plotly's script
    colors: dict[str, str]
    chance: float
    marker: int | None
    curves: dict[str, dict[str, PackedArray]]
    headline: str
    progress: float
    active: bool
    phase: str
    maps: MapsData | None
    mapsNotice: str


def live_curves(sent: bytes, *, key: str) -> int | None:
    """Draws the payload of `to_send`; returns the epoch that was clicked, in the rerun that follows.

    Zoom and hidden curves belong to the `key`, so each run needs its own.
    """
    result = component("live_curves", "board", "maps/maps")(key=key, data=sent, on_picked_change=lambda: None)
    return None if result.picked is None else int(result.picked)


def to_send(
    metrics: Sequence[Mapping[str, Any]],
    *,
    num_classes: int,
    key: str,
    marker_epoch: int | None = None,
    headline: str = "",
    progress: float = 0,
    active: bool = False,
    phase: str = "",
    maps: MapsData | None = None,
    maps_notice: str = "",
) -> bytes:
    """The payload as JSON: the `metrics` rows as curves, with headline and progress bar above, maps below.

    Missing values (None, as train_loss at epoch 0) are gaps. `marker_epoch` is marked by a vertical line. The bar of
    `progress`, 0..1, is colored while the run is `active`; at its end a notification, if the user wants one, names the
    `phase`. `maps_notice` is shown in place of `maps`.
    """
    epochs = np.array([row["epoch"] for row in metrics], float)
    curves = {
        chart: {split: _curve(epochs, metrics, column, scale) for split, (column, scale) in columns.items()}
        for chart, columns in CURVES.items()
    }
    data = LiveCurvesData(
        key=key,
        plotly=plotly_script(),
        colors=SPLIT_COLORS,
        chance=100 / num_classes,
        marker=marker_epoch,
        curves=curves,
        headline=headline,
        progress=progress,
        active=active,
        phase=phase,
        maps=maps,
        mapsNotice=maps_notice,
    )
    return json.dumps(data).encode()


def _curve(epochs: NDArray[np.float64], metrics: Sequence[Mapping[str, Any]], column: str, scale: float) -> PackedArray:
    """Epochs and values of one column, downsampled and packed, (2, n) float32."""
    values = np.array([row.get(column) for row in metrics], float)  # None becomes NaN
    return packed(np.stack(downsample(epochs, scale * values)).astype(np.float32))
