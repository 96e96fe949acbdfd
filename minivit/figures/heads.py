"""Heads: attention distance and the decomposition of their scores; waterfall charts of sums."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from minivit.figures.colors import GRAY, SPLIT_COLORS


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
    figure.update_layout(
        xaxis={"title": "layer", "dtick": 1, "range": [0.5, num_layers + 0.5]},
        yaxis={"title": "mean attention distance (px)", "rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
        margin={"l": 50, "r": 10, "t": 30, "b": 50},
        height=360,
        showlegend=1 < num_heads <= 8,
    )
    return figure


def sum_bars(parts: Mapping[str, float], total: str) -> go.Figure:
    """A waterfall chart of signed parts and their sum, labeled `total`."""
    values = [*parts.values(), sum(parts.values())]
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            y=[*parts, total],
            x=values,
            measure=["relative"] * len(parts) + ["total"],
            text=[f"{value:+.2f}" for value in values],
            hovertemplate="%{y}: %{text}<extra></extra>",
            increasing={"marker": {"color": SPLIT_COLORS["test"]}},
            decreasing={"marker": {"color": SPLIT_COLORS["train"]}},
            totals={"marker": {"color": GRAY}},
        )
    )
    figure.update_layout(
        yaxis={"autorange": "reversed"},
        xaxis={"title": "logits", "zeroline": True},
        margin={"l": 70, "r": 10, "t": 10, "b": 40},
        height=210,
    )
    return figure


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
    figure.update_layout(
        barmode="relative",
        uniformtext={"mode": "hide", "minsize": 10},
        bargap=0.35,
        xaxis={"title": "head", "type": "category"},
        yaxis={"title": "share of the scores' variance", "tickformat": ".0%"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        margin={"l": 60, "r": 10, "t": 10, "b": 40},
        height=340,
    )
    return figure
