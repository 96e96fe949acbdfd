"""Trials of a sweep across their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from minivit.figures.style import GRAY, SPLIT_COLORS, layout

NUM_SHADES = 8


@dataclass(frozen=True)
class Axis:
    """One axis of a parallel-coordinates plot: the position of each trial on it, 0..1, and its ticks."""

    title: str
    positions: Sequence[float]
    ticks: Mapping[float, str]


def choice_axis(title: str, values: Sequence[Any], choices: Sequence[Any]) -> Axis:
    """An axis of evenly spaced values."""
    positions = {choice: (index + 0.5) / len(choices) for index, choice in enumerate(choices)}
    ticks = {position: str(choice) for choice, position in positions.items()}
    return Axis(title, [positions[value] for value in values], ticks)


def range_axis(
    title: str, values: Sequence[float], low: float, high: float, *, log: bool = False, fmt: str = ".3g"
) -> Axis:
    """A numeric axis from `low` to `high`."""
    scale = np.log10 if log else np.asarray
    start, end = float(scale(low)), float(scale(high))
    width = (end - start) or 1.0
    ticks = np.linspace(start, end, 3 if end > start else 1)
    return Axis(
        title,
        [(float(scale(value)) - start) / width for value in values],
        {(tick - start) / width: format(10**tick if log else tick, fmt) for tick in ticks},
    )


def parallel_coordinates(axes: Sequence[Axis], names: Sequence[str], scores: Sequence[float]) -> go.Figure:
    """One line per trial across its settings: the higher its score, the more saturated its color."""
    low, high = min(scores), max(scores)
    shades = [round((score - low) / ((high - low) or 1) * (NUM_SHADES - 1)) for score in scores]
    colors = sample_colorscale([[0, GRAY], [1, SPLIT_COLORS["test"]]], list(np.linspace(0, 1, NUM_SHADES)))
    figure = go.Figure()
    for shade, color in enumerate(colors):
        x: list[int | None] = []
        y: list[float | None] = []
        text: list[str] = []
        for trial in [index for index, of_trial in enumerate(shades) if of_trial == shade]:
            x += [*range(len(axes)), None]  # None is a gap between one trial and the next
            y += [*(axis.positions[trial] for axis in axes), None]
            text += [names[trial]] * (len(axes) + 1)
        figure.add_scatter(
            x=x,
            y=y,
            text=text,
            mode="lines+markers",
            line={"color": color, "width": 1 + 1.5 * shade / (NUM_SHADES - 1)},
            marker={"size": 5},
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    for index, axis in enumerate(axes):
        figure.add_vline(x=index, line={"width": 1, "color": GRAY}, layer="below")
        for position, label in axis.ticks.items():
            figure.add_annotation(x=index, y=position, text=label, showarrow=False, xanchor="left", xshift=6, yshift=8)
    titles = {"tickvals": list(range(len(axes))), "ticktext": [axis.title for axis in axes], "side": "top"}
    x_axis = {**titles, "showgrid": False, "range": [-0.35, len(axes) - 0.6], "fixedrange": True}
    y_axis = {"visible": False, "range": [-0.08, 1.12], "fixedrange": True}
    return layout(figure, x_axis, y_axis, 360, left=10, top=40, bottom=10, hovermode="closest")
