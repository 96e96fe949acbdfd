"""Patch mosaics, and grids of small maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

MAX_SIMILARITY_MAPS = 16  # along a side


def patch_mosaic(patches: NDArray[np.uint8], side: int = 400) -> NDArray[np.uint8]:
    """Square patches (n, C, p, p), row by row, with gaps between them: RGBA (≈side, ≈side, 4), gaps transparent."""
    num_patches, _, patch_size, _ = patches.shape
    grid = round(num_patches**0.5)
    zoom = max(1, side // (grid * patch_size))
    size = patch_size * zoom
    cell = size + max(2, side // grid // 8)
    mosaic = np.zeros((grid, cell, grid, cell, 4), np.uint8)
    colors = np.broadcast_to(patches, (num_patches, 3, patch_size, patch_size)).transpose(0, 2, 3, 1)
    colors = colors.repeat(zoom, 1).repeat(zoom, 2).reshape(grid, grid, size, size, 3)
    mosaic[:, :size, :, :size, :3] = colors.transpose(0, 2, 1, 3, 4)
    mosaic[:, :size, :, :size, 3] = 255
    return mosaic.reshape(grid * cell, grid * cell, 4)


def filter_images(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Filters (D, C, p, p) as images of the same shape: 0 is mid-gray, the largest magnitude black or white."""
    return (127.5 + 127.5 * weight / max(float(np.abs(weight).max()), 1e-12)).round().astype(np.uint8)


def similarity_grid(similarity: NDArray[np.float32]) -> go.Figure:
    """Position similarity (N-1, N-1), -1..1, as a small map for each patch, at its position. ViT's figure 7.

    With more than `MAX_SIMILARITY_MAPS` patches along a side, only every second, third, … has a map.
    """
    grid = round(len(similarity) ** 0.5)
    rows = np.arange(0, grid, -(-grid // MAX_SIMILARITY_MAPS))
    maps = similarity.reshape(grid, grid, grid, grid)[rows][:, rows]
    labels = [str(row + 1) for row in rows]
    figure = _heatmap_grid(
        maps, gap=1, row_labels=labels, column_labels=labels, limit=1, colorbar={"title": {"text": "cosine"}}
    )
    figure.data[0].colorbar.update(orientation="h", thickness=12, y=1, ypad=4, title_side="top")
    figure.update_xaxes(title="column of the patch", side="bottom")
    figure.update_yaxes(title="row of the patch")
    figure.update_layout(margin={"l": 50, "r": 10, "t": 10, "b": 50}, height=440)
    return figure


def map_grid(
    maps: NDArray[np.float32], *, rows: Sequence[str], columns: Sequence[str], title: str, limit: float
) -> go.Figure:
    """Small signed maps (R, C, n) in rows and columns on one scale, ±`limit`; `title` names the values."""
    grid = round(maps.shape[2] ** 0.5)
    figure = _heatmap_grid(
        maps.reshape(*maps.shape[:2], grid, grid),
        gap=max(1, grid // 4),
        row_labels=rows,
        column_labels=columns,
        limit=limit,
        colorbar={"title": title, "thickness": 14},
    )
    figure.update_layout(margin={"l": 40, "r": 10, "t": 30, "b": 10}, height=max(240, 60 + 130 * len(maps)))
    return figure


def _heatmap_grid(
    maps: NDArray[np.float32],
    *,
    gap: int,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    limit: float,
    colorbar: dict[str, Any],
) -> go.Figure:
    """Maps (R, C, G, G) as one heatmap with empty cells between them, labeled by row and column."""
    R, C, grid, _ = maps.shape
    cell = grid + gap
    tiles = np.full((R, cell, C, cell), np.nan, np.float32)
    tiles[:, :grid, :, :grid] = maps.transpose(0, 2, 1, 3)
    heatmap = go.Heatmap(
        z=tiles.reshape(R * cell, C * cell)[:-gap, :-gap],
        zmin=-limit,
        zmax=limit,
        colorscale="RdBu_r",
        colorbar=colorbar,
        hoverinfo="z",
        hoverongaps=False,
    )
    axis = {"showgrid": False, "zeroline": False, "constrain": "domain", "ticks": ""}
    middle = (grid - 1) / 2
    columns = {"tickvals": np.arange(C) * cell + middle, "ticktext": list(column_labels), "side": "top"}
    rows = {"tickvals": np.arange(R) * cell + middle, "ticktext": list(row_labels)}
    figure = go.Figure(heatmap)
    figure.update_layout(xaxis={**axis, **columns}, yaxis={**axis, **rows, "autorange": "reversed", "scaleanchor": "x"})
    return figure
