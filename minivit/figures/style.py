"""Colors of curves, maps and methods, the limits of color scales, and the layout of charts, shared by all pages."""

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.colors import get_colorscale, sample_colorscale

COLORMAPS = ("magma", "viridis", "jet")  # of unsigned maps, for the user to choose; signed maps use RdBu

# Color-blind safe, with a contrast of at least 3:1 on white and on Streamlit's dark background.
SPLIT_COLORS = {"train": "#0F7AC0", "test": "#D55E00"}
RUN_COLORS = (SPLIT_COLORS["train"], SPLIT_COLORS["test"], "#178A5B", "#7A6BF0", "#8A7A00", "#CC4C9A", "#85868F")
RUN_LINES = [{"color": color, "dash": dash} for dash in ("solid", "dash", "dot") for color in RUN_COLORS]
GRAY = "#85868F"  # chance, random rankings, pruned trials
METHOD_COLOR = "#7A6BF0"  # an attribution method compared with random rankings
LEGEND_BELOW = {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"}  # clear of a title of the axis that wraps
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
SHARE_INSIDE = 0.99  # of the values are within a color scale, so that one outlier does not turn all others black


def colormap(name: str, num_colors: int = 256) -> NDArray[np.uint8]:
    """Evenly spaced colors of a Plotly color scale, RGB (num_colors, 3), 0..255."""
    sampled = sample_colorscale(get_colorscale(name), list(np.linspace(0, 1, num_colors)))
    return np.array([[float(part) for part in re.findall(r"[\d.]+", rgb)] for rgb in sampled]).round().astype(np.uint8)


def color_indices(values: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.intp]:
    """The row of a 256-color `colormap` for each value on an absolute scale (low, high); clipped at both ends."""
    low, high = scale
    positions = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1)
    return (positions * 255).round().astype(np.intp)


def scale_limit(values: ArrayLike, minimum: float = 1e-12) -> float:
    """The limit of a color scale: the 99% quantile of the magnitudes, but at least `minimum`."""
    magnitudes = np.abs(np.nan_to_num(np.asarray(values)))
    return max(minimum, float(np.quantile(magnitudes, SHARE_INSIDE)))


def attention_scale(maps: NDArray[np.float32], num_tokens: int) -> tuple[float, float]:
    """A shared scale for attention maps, (0, high).

    `high` is at least four times the uniform value 1/N, so that nearly uniform attention looks uniform.
    """
    return 0.0, scale_limit(maps, 4 / num_tokens)


def layout(
    figure: go.Figure,
    x: dict[str, Any],
    y: dict[str, Any],
    height: int,
    *,
    left: int = 60,
    top: int = 10,
    bottom: int = 50,
    **others: Any,
) -> go.Figure:
    """The figure with these axes, height in px, margins in px (the right one is 10), and other settings."""
    margin = {"l": left, "r": 10, "t": top, "b": bottom}
    return figure.update_layout(xaxis=x, yaxis=y, height=height, margin=margin, **others)


def error_bars(values: ArrayLike, lows: ArrayLike, highs: ArrayLike, **style: Any) -> dict[str, Any]:
    """Error bars from the lower to the upper ends of intervals, (n,) each."""
    return {"array": np.subtract(highs, values), "arrayminus": np.subtract(values, lows), **style}
