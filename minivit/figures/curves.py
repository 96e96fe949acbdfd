"""Curves: accuracy by epoch, probabilities as patches are dropped or inserted, and reliability diagrams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from minivit.figures.style import (
    GRAY,
    LEGEND_ABOVE,
    LEGEND_BELOW,
    METHOD_COLOR,
    SPLIT_COLORS,
    error_bars,
    layout,
)

Array = NDArray[np.float64]


def downsample(x: Array, y: Array, limit: int = 1000) -> tuple[Array, Array]:
    """At most `limit` of the points: the first, the last, and the lowest and highest of equal buckets in between.

    Peaks are kept, so the curve looks the same. A bucket of NaN keeps one of them, and so its gap.
    """
    if len(y) <= limit:
        return x, y
    num_buckets = max(1, (limit - 2) // 2)
    width = -(-len(y) // num_buckets)
    padded = np.full(num_buckets * width, np.nan)
    padded[: len(y)] = y
    buckets = padded.reshape(num_buckets, width)
    starts = np.arange(num_buckets) * width
    lowest = starts + np.where(np.isnan(buckets), np.inf, buckets).argmin(1)
    highest = starts + np.where(np.isnan(buckets), -np.inf, buckets).argmax(1)
    indices = np.unique(np.concatenate([[0], lowest, highest, [len(y) - 1]]))
    indices = indices[indices < len(y)]
    return x[indices], y[indices]


def smooth(y: Array, weight: float) -> Array:
    """An exponential moving average without the bias to 0 at its beginning, as TensorBoard draws it; NaN stays NaN.

    `weight`, 0 <= weight < 1, is that of the past.
    """
    smoothed = np.full(len(y), np.nan)
    average = 0.0
    total = 0.0
    for index in np.flatnonzero(~np.isnan(y)):
        average, total = weight * average + (1 - weight) * y[index], weight * total + (1 - weight)
        smoothed[index] = average / total
    return smoothed


class NamedCurve(NamedTuple):
    """A metric of one run; None is a gap. A star marks the point with index `best`."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    best: int | None = None


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Titles of both axes, which values are percentages, and which axes are logarithmic."""

    x: str = "epoch"
    y: str = "test accuracy"
    percent: bool = True
    log_x: bool = False
    log_y: bool = False


def metric_curves(
    groups: Mapping[str, Sequence[NamedCurve]],
    lines: Mapping[str, Mapping[str, Any]] | None = None,
    axes: Axes = Axes(),
    smoothing: float = 0.0,
) -> go.Figure:
    """A metric by epoch or another quantity; the curves of a group share a legend entry and a line style.

    With smoothing, the measured values stay visible behind the curves.
    """
    figure = go.Figure()
    largest = 0.0
    for group, curves in groups.items():
        x: list[float | None] = []
        y: list[float | None] = []
        behind: list[float | None] = []
        names: list[str] = []
        for curve in curves:
            values = np.array(curve.y, float)
            all_x = np.array(curve.x, float)
            kept_x, kept_y = downsample(all_x, smooth(values, smoothing) if smoothing else values)
            x += [*kept_x, None]  # None is a gap between one curve and the next
            y += [*kept_y, None]
            behind += [*np.interp(kept_x, all_x, values), None] if smoothing else []
            names += [escape(curve.name)] * (len(kept_x) + 1)
            largest = max(largest, *kept_x, 0.0)
        line = (lines or {}).get(group)
        common = {"x": x, "line": line, "legendgroup": group}
        if smoothing:
            figure.add_scatter(y=behind, mode="lines", opacity=0.25, hoverinfo="skip", showlegend=False, **common)
        hover = f"%{{text}}, {axes.x} %{{x:,.4~g}}: %{{y:{'.1%' if axes.percent else '.3f'}}}<extra></extra>"
        figure.add_scatter(
            y=y,
            text=names,
            name=escape(group),
            mode="lines+markers" if len(x) <= 30 * len(curves) else "lines",
            marker={"size": 4},
            hovertemplate=hover,
            **common,
        )
        if starred := [(curve, curve.best) for curve in curves if curve.best is not None]:
            figure.add_scatter(
                x=[curve.x[index] for curve, index in starred],
                y=[curve.y[index] for curve, index in starred],
                text=[f"{escape(curve.name)}, best" for curve, _ in starred],
                mode="markers",
                marker={"symbol": "star", "size": 12, "color": (line or {}).get("color")},
                hovertemplate=hover,
                legendgroup=group,
                showlegend=False,
            )
    ticks = {"rangemode": "tozero", "tickformat": "d", "dtick": max(1, int(largest) // 10)} if axes.x == "epoch" else {}
    x_axis = {"title": axes.x, **({"type": "log"} if axes.log_x else ticks)}
    y_type = "log" if axes.log_y else "linear"
    y_axis = {"title": axes.y, "tickformat": ".0%" if axes.percent else "", "type": y_type}
    return layout(figure, x_axis, y_axis, 380, left=50, legend=LEGEND_ABOVE, showlegend=True)


TRIAL_LINES = {
    "pruned": {"color": GRAY, "width": 1, "dash": "dot"},
    "failed": {"color": GRAY, "width": 1, "dash": "dash"},
    "training": {"color": SPLIT_COLORS["test"], "width": 1.5, "dash": "dot"},
    "done": {"color": SPLIT_COLORS["test"], "width": 1.5},
}
BEST_LINE = {"color": SPLIT_COLORS["test"], "width": 3.5}


def trial_curves(trials: Sequence[tuple[str, str, Mapping[int, float]]], best: str = "") -> go.Figure:
    """Accuracy curves of trials, (name, phase, accuracy by epoch) each, in groups by phase; the best one is bold."""
    groups: dict[str, list[NamedCurve]] = {phase: [] for phase in TRIAL_LINES}
    groups[f"best: {best}"] = []
    for name, phase, curve in trials:
        epochs = sorted(curve)
        group = f"best: {best}" if name == best else phase
        groups[group].append(NamedCurve(name, epochs, [curve[epoch] for epoch in epochs]))
    visible = {group: curves for group, curves in groups.items() if any(curve.x for curve in curves)}
    return metric_curves(visible, {**TRIAL_LINES, f"best: {best}": BEST_LINE})


def removal_curves(
    curves: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]], axis_title: str, method: str
) -> go.Figure:
    """A panel for each named probability curve (N,), with the mean ± sd of random rankings (R, N) behind it.

    A line break in a name is kept in its title: on a phone, two titles share 290 px.
    """
    titles = [escape(name).replace("\n", "<br>") for name in curves]
    figure = make_subplots(1, len(curves), shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    figure.update_annotations(font_size=13)
    for column, (curve, random) in enumerate(curves.values(), start=1):
        steps = np.arange(len(curve))
        panel = {"row": 1, "col": column}
        mean, sd = random.mean(0), random.std(0)
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": "random"}
        figure.add_scatter(x=steps, y=mean + sd, showlegend=False, **band, **panel)
        band |= {"fill": "tonexty", "fillcolor": "rgba(138, 141, 153, 0.3)"}
        figure.add_scatter(x=steps, y=mean - sd, showlegend=False, **band, **panel)
        for name, values, color, dash in (
            (f"{len(random)} random rankings, mean ± sd", mean, GRAY, "dash"),
            (method, curve, METHOD_COLOR, "solid"),
        ):
            line = {"color": color, "dash": dash, "width": 2}
            legend = {"showlegend": column == 1, "legendgroup": name}
            figure.add_scatter(x=steps, y=values, name=name, mode="lines", line=line, **legend, **panel)
    figure.update_xaxes(title="patches", range=[0, len(steps) - 1])
    figure.update_yaxes(range=[0, 1])
    figure.update_yaxes(title=escape(axis_title), col=1)
    return layout(figure, {}, {}, 340, top=50, bottom=90, legend=LEGEND_BELOW)


def cascade_curves(
    steps: Sequence[str], curves: Mapping[str, Sequence[tuple[float, float, float] | None]], selected: str
) -> go.Figure:
    """Named rank correlations, (mean, low, high) or None at each step after the intact model; one is emphasized."""
    figure = go.Figure()
    for name, correlations in curves.items():
        missing = (np.nan, np.nan, np.nan)
        values, lows, highs = np.array([(1, 1, 1), *(point or missing for point in correlations)]).T
        is_selected = name == selected
        figure.add_scatter(
            x=["intact", *steps],
            y=values,
            name=escape(name),
            mode="lines+markers",
            line={"width": 4 if is_selected else 1.5},
            error_y=error_bars(values, lows, highs, thickness=1, visible=is_selected),
            customdata=np.stack([lows, highs], 1),
            hovertemplate="%{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})",
        )
    figure.add_hline(y=0, line_dash="dot", line_color=GRAY)
    x_axis = {"title": "re-initialized down to", "type": "category"}
    y_axis = {"title": "rank correlation with intact", "range": [-1.02, 1.02]}
    return layout(figure, x_axis, y_axis, 380, bottom=90, legend=LEGEND_BELOW)


def reliability_diagram(
    confidence: Array,
    accuracy: Array,
    intervals: Sequence[tuple[float, float]],
    counts: NDArray[np.int64],
) -> go.Figure:
    """Accuracy by confidence (n,) with intervals and counts; a calibrated model lies on the diagonal."""
    figure = go.Figure()
    ends = [0, 1]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"dash": "dot", "color": GRAY}, hoverinfo="skip")
    figure.add_scatter(
        x=confidence,
        y=accuracy,
        mode="lines+markers",
        line={"color": SPLIT_COLORS["test"]},
        error_y=error_bars(accuracy, *zip(*intervals, strict=True)),
        customdata=counts,
        hovertemplate="confidence %{x:.0%}: %{y:.0%} of %{customdata} correct<extra></extra>",
    )
    x_axis, y_axis = ({"title": title, "range": ends, "tickformat": ".0%"} for title in ("mean confidence", "accuracy"))
    return layout(figure, x_axis, y_axis, 300, showlegend=False)


def confidence_histogram(groups: Mapping[str, NDArray[np.floating]]) -> go.Figure:
    """Each group's confidences, 0..1, in ten bins of equal width: the share of the group, with the number of images."""
    figure = go.Figure()
    edges = np.linspace(0, 1, 11)
    for (name, confidence), color in zip(groups.items(), (SPLIT_COLORS["test"], GRAY), strict=True):
        counts = np.histogram(confidence, edges)[0]
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts / len(confidence),
            name=name,
            marker_color=color,
            customdata=np.stack([edges[:-1], edges[1:], counts], 1),
            text=[f"{count}" if count else "" for count in counts],
            textposition="outside",
            textangle=-90,  # as two bars of a bin are narrow
            constraintext="none",
            cliponaxis=False,
            hovertemplate="confidence %{customdata[0]:.0%} to %{customdata[1]:.0%}: %{customdata[2]} images (%{y:.0%})",
        )
    x_axis = {"title": "confidence", "range": [0, 1], "tickformat": ".0%", "dtick": 0.2}
    y_axis = {"title": "share of the images", "tickformat": ".0%"}
    return layout(figure, x_axis, y_axis, 320, top=30, bottom=90, legend=LEGEND_BELOW)


def share_curves(
    epochs: Sequence[int],
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    chance: Mapping[str, float],
    title: str,
) -> go.Figure:
    """Named shares at saved epochs, each (value, low, high), and a dotted line at chance."""
    figure = go.Figure()
    for (name, shares), color in zip(curves.items(), (METHOD_COLOR, "#D98A00"), strict=False):
        values, lows, highs = np.array(shares).T
        figure.add_scatter(
            x=list(epochs),
            y=values,
            error_y=error_bars(values, lows, highs, thickness=1, width=3),
            name=name,
            mode="lines+markers",
            line={"color": color},
            customdata=np.stack([lows, highs], 1),
            hovertemplate="%{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})",
        )
        figure.add_hline(
            y=chance[name],
            line_dash="dot",
            line_color=color,
            annotation_text=f"chance {chance[name]:.0%}",
            annotation_position="bottom right",
        )
    x_axis = {"title": "epoch (0 is before training)", "dtick": max(1, max(epochs) // 8)}
    y_axis = {"title": title, "tickformat": ".0%", "range": [0, 1.02]}
    return layout(figure, x_axis, y_axis, 340, bottom=90, legend=LEGEND_BELOW)
