"""Numbers in, Plotly figures and colours out. No files, no torch, no Streamlit."""

import re

import numpy as np
from numpy.typing import NDArray
from plotly.colors import get_colorscale, sample_colorscale

COLORMAPS = ("magma", "viridis", "jet", "RdBu")


def colormap(name: str, steps: int = 256) -> NDArray[np.uint8]:
    """RGB of `steps` even steps along one of Plotly's colour scales, (steps, 3), 0..255."""
    sampled = sample_colorscale(get_colorscale(name), list(np.linspace(0, 1, steps)))
    return np.array([[float(part) for part in re.findall(r"[\d.]+", rgb)] for rgb in sampled]).round().astype(np.uint8)
