"""Patch mosaics and grids of small maps; attention distance and the scores of heads; waterfall charts of sums."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from minivit.figures.style import GRAY, LEGEND_ABOVE, SPLIT_COLORS, layout

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
    bar = {"title": {"text": "cosine"}}
    figure = _heatmap_grid(maps, gap=1, row_labels=labels, column_labels=labels, limit=1, colorbar=bar)
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


def attention_distance_chart(distances: NDArray[np.float32], uniform: float) -> go.Figure:
    """Mean attention distance (L, H) in pixels by layer, one dot per head, and uniform attention. ViT's figure 7."""
    num_layers, num_heads = distances.shape
    figure = go.Figure()
    for head in range(num_heads):
        figure.add_scatter(
            x=np.arange(1, num_layers + 1),
            y=distances[:, head],
            mode="markers",
            name=f"head {head + 1}",
            marker={"size": 10},
            hovertemplate=f"layer %{{x}}, head {head + 1}: %{{y:.2f}} px<extra></extra>",
        )
    figure.add_hline(y=uniform, line={"dash": "dot", "color": GRAY})
    corner = {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom"}
    figure.add_annotation(text=f"dotted: uniform attention, {uniform:.1f} px", showarrow=False, **corner)
    x_axis = {"title": "layer", "dtick": 1, "range": [0.5, num_layers + 0.5]}
    y_axis = {"title": "mean attention distance (px)", "rangemode": "tozero"}
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top"}
    return layout(figure, x_axis, y_axis, 360, left=50, top=30, legend=legend, showlegend=1 < num_heads <= 8)


def sum_bars(parts: Mapping[str, float], name: str, total: float) -> go.Figure:
    """A waterfall chart of signed parts and of the total of that name, from 0: it shows if the parts do not add up."""
    values = [*parts.values(), total]
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            y=[*parts, name],
            x=values,
            measure=["relative"] * len(parts) + ["absolute"],
            text=[f"{value:+.2f}" for value in values],
            hovertemplate="%{y}: %{text}<extra></extra>",
            increasing={"marker": {"color": SPLIT_COLORS["test"]}},
            decreasing={"marker": {"color": SPLIT_COLORS["train"]}},
            totals={"marker": {"color": GRAY}},  # of absolute bars too
        )
    )
    x_axis = {"title": "logits", "zeroline": True}
    return layout(figure, x_axis, {"autorange": "reversed"}, 210, left=70, bottom=40)


# Warm colors for terms with the content of the key, cold ones for its position; the query sets the shade.
TERM_COLORS = ("#D55E00", "#6FB1E0", "#F2A65E", "#0F7AC0")


def term_bars(shares: NDArray[np.float32], terms: Sequence[str]) -> go.Figure:
    """Shares (H, T) of named terms as one stacked bar per head; negative shares are below 0."""
    heads = [str(head + 1) for head in range(len(shares))]
    figure = go.Figure()
    for name, values, color in zip(terms, shares.T, TERM_COLORS, strict=True):
        figure.add_bar(
            x=heads,
            y=values,
            name=name,
            marker={"color": color},
            texttemplate="%{y:.0%}",
            textposition="inside",
            textangle=0,
            hovertemplate=f"head %{{x}}, {name}: %{{y:.1%}}<extra></extra>",
        )
    figure.update_layout(barmode="relative", uniformtext={"mode": "hide", "minsize": 10}, bargap=0.35)
    x_axis = {"title": "head", "type": "category"}
    y_axis = {"title": "share of the scores' variance", "tickformat": ".0%"}
    return layout(figure, x_axis, y_axis, 340, bottom=40, legend=LEGEND_ABOVE | {"traceorder": "normal"})
