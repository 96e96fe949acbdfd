"""A live run: headline, loss and accuracy by epoch, and maps, as one component that is updated in place.

The charts keep zoom and hidden curves. The payload is one string of bytes, encoded once for all viewers.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly
from numpy.typing import NDArray

from minivit.figures import SPLIT_COLORS, downsample
from minivit.files import atomic_write
from pages.parts.components.component import component, packed

STATIC = Path(__file__).parents[4] / "static"  # Streamlit serves it: it is beside dashboard.py
CURVES = {
    "loss": {"train": ("train_loss", 1), "test": ("test_loss", 1)},
    "accuracy": {"train": ("train_acc", 100), "test": ("test_acc", 100)},
}


@cache
def plotly_script(static: Path = STATIC) -> str:
    """The path under which this server serves plotly.min.js, copied from the installed package if missing.

    Copied, because Streamlit does not serve links; with its version in the name, so that browsers can cache it.
    """
    target = static / f"plotly-{plotly.__version__}.min.js"
    if not target.exists():
        static.mkdir(exist_ok=True)
        source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        with atomic_write(target) as file:
            file.write(source.read_bytes())
    return f"/app/static/{target.name}"


def live_curves(sent: bytes, *, key: str) -> int | None:
    """Draws the payload of `to_send`; returns the epoch that was clicked, in the rerun that follows.

    Zoom and hidden curves belong to the `key`, so each run needs its own.
    """
    result = component("live_curves", "board", "maps/maps")(key=key, data=sent, on_picked_change=lambda: None)
    return None if result.picked is None else int(result.picked)


def to_send(
    metrics: Sequence[Mapping[str, Any]],
    *,
    baselines: Mapping[str, float],
    key: str,
    headline: str = "",
    progress: float = 0,
    active: bool = False,
    phase: str = "",
    best: int | None = None,
    maps: dict[str, Any] | None = None,
    maps_notice: str = "",
) -> bytes:
    """The payload as JSON: the `metrics` rows as curves, with headline and progress bar above, maps below.

    `baselines` are named accuracies, 0..1, drawn as lines, chance first.
    Missing values (None, as train_loss at epoch 0) are gaps. The bar of
    `progress`, 0..1, is colored while the run is `active`; at its end a notification, if the user wants one, names the
    `phase`. The epoch `best` is marked in both charts. `maps_notice` is shown in place of `maps`.
    """
    epochs = np.array([row["epoch"] for row in metrics], float)
    curves = {
        chart: {split: packed(_curve(epochs, metrics, *column)) for split, column in columns.items()}
        for chart, columns in CURVES.items()
    }
    best_row = next((row for row in metrics if best and row["epoch"] == best), None)
    data = {
        "key": key,
        "plotly": plotly_script(),
        "colors": SPLIT_COLORS,
        "baselines": [[name, 100 * share] for name, share in baselines.items()],
        "curves": curves,
        "headline": headline,
        "progress": progress,
        "active": active,
        "phase": phase,
        "best": best_row and {"epoch": best, "loss": best_row["test_loss"], "accuracy": 100 * best_row["test_acc"]},
        "maps": maps,
        "mapsNotice": maps_notice,
    }
    return json.dumps(data).encode()


def _curve(epochs: np.ndarray, metrics: Sequence[Mapping[str, Any]], column: str, scale: float) -> np.ndarray:
    """Epochs and values of one column, downsampled, (2, n) float32."""
    values = np.array([row.get(column) for row in metrics], float)  # None becomes NaN
    return np.stack(downsample(epochs, scale * values)).astype(np.float32)
