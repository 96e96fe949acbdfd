"""Numbers in, Plotly figures and colours out. No files, no torch, no Streamlit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import get_colorscale, sample_colorscale
from plotly.subplots import make_subplots

COLORMAPS = ("magma", "viridis", "jet", "RdBu")


def colormap(name: str, steps: int = 256) -> NDArray[np.uint8]:
    """RGB of `steps` even steps along one of Plotly's colour scales, (steps, 3), 0..255."""
    sampled = sample_colorscale(get_colorscale(name), list(np.linspace(0, 1, steps)))
    return np.array([[float(part) for part in re.findall(r"[\d.]+", rgb)] for rgb in sampled]).round().astype(np.uint8)


# Train and held-out keep these two on every page: safe for colour-blind eyes, at least 3:1 on white and on Streamlit's
# dark grounds.
SPLIT_COLORS = {"train": "#0F7AC0", "held-out": "#D55E00"}
GREY = "#85868F"  # at least 3:1 on the same grounds


def thin(
    x: NDArray[np.float64], y: NDArray[np.float64], limit: int = 1000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `limit` of the points: the first, the last, and the lowest and highest of equal buckets between.

    Peaks stay where they are, so the curve looks the same. A bucket of nothing but NaN keeps a NaN, and so a gap.
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
    keep = np.unique(np.concatenate([[0], lowest, highest, [len(y) - 1]]))
    keep = keep[keep < len(y)]
    return x[keep], y[keep]


def absolute_scale(*maps: NDArray[np.float32], num_tokens: int) -> tuple[float, float]:
    """One scale for attention maps that are to be compared, (0, high).

    `high` is what 99 % of the values stay below, and at least four times the uniform value 1/N, so that nearly
    uniform attention looks uniform and one sharp patch does not turn all others black.
    """
    values = np.concatenate([np.ravel(one) for one in maps])
    return 0.0, max(4 / num_tokens, float(np.quantile(np.nan_to_num(values), 0.99)))


def evenly_spaced(num_images: int, count: int) -> list[int]:
    """`count` numbers spread evenly over 0 … num_images - 1: a folder's test part comes class by class."""
    return sorted({int(number) for number in np.linspace(0, num_images - 1, count)})


def duration(seconds: float) -> str:
    """A time as people say it: '40 s', '2 min 5 s', '1 h 10 min'."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def patch_mosaic(patches: NDArray[np.uint8], side: int = 400) -> NDArray[np.uint8]:
    """Square patches (n, C, p, p), row by row, set apart in their places: RGBA (≈side, ≈side, 4), clear between."""
    num_patches, _, patch_size, _ = patches.shape
    grid = round(num_patches**0.5)
    zoom = max(1, side // (grid * patch_size))
    cell = patch_size * zoom + max(2, side // grid // 8)
    picture = np.zeros((grid, cell, grid, cell, 4), np.uint8)
    colours = np.broadcast_to(patches, (num_patches, 3, patch_size, patch_size)).transpose(0, 2, 3, 1)
    colours = colours.repeat(zoom, 1).repeat(zoom, 2).reshape(grid, grid, patch_size * zoom, patch_size * zoom, 3)
    picture[:, : patch_size * zoom, :, : patch_size * zoom, :3] = colours.transpose(0, 2, 1, 3, 4)
    picture[:, : patch_size * zoom, :, : patch_size * zoom, 3] = 255
    return picture.reshape(grid * cell, grid * cell, 4)


def filter_images(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Filters (D, C, p, p) as images of the same shape: 0 is mid-grey, the largest of all full scale."""
    return (127.5 + 127.5 * weight / max(float(np.abs(weight).max()), 1e-12)).round().astype(np.uint8)


MAX_SIMILAR = 16


def similarity_grid(similarity: NDArray[np.float32]) -> go.Figure:
    """Position similarity (N-1, N-1), -1..1, as a small map per patch, in its place. As ViT's figure 7.

    Where there are more patches along a side than `MAX_SIMILAR`, the maps are those of every second one, or third ….
    """
    grid = round(len(similarity) ** 0.5)
    shown = np.arange(0, grid, -(-grid // MAX_SIMILAR))
    tiles = np.full((len(shown), grid + 1, len(shown), grid + 1), np.nan, np.float32)
    of_shown = similarity.reshape(grid, grid, grid, grid)[shown][:, shown]
    tiles[:, :grid, :, :grid] = of_shown.transpose(0, 2, 1, 3)
    picture = tiles.reshape(len(shown) * (grid + 1), -1)[:-1, :-1]
    labels = np.arange(len(shown)) * (grid + 1) + (grid - 1) / 2
    heatmap = go.Heatmap(
        z=picture, zmin=-1, zmax=1, colorscale="RdBu_r", hoverinfo="z", hoverongaps=False,
        colorbar={"title": {"text": "cosine", "side": "top"}, "orientation": "h", "thickness": 12, "y": 1, "ypad": 4},
    )  # fmt: skip
    ticks = {"tickvals": labels, "ticktext": [str(number + 1) for number in shown], "showgrid": False}
    figure = go.Figure(heatmap)
    figure.update_layout(
        xaxis={**ticks, "title": "column of the patch", "constrain": "domain"},
        yaxis={
            **ticks,
            "title": "row of the patch",
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
        },
        margin={"l": 50, "r": 10, "t": 10, "b": 50},
        height=440,
    )
    return figure


def distances(values: NDArray[np.float32], uniform: float) -> go.Figure:
    """Mean attention distance (L, H) in pixels by layer, a dot a head, and uniform attention. ViT's figure 7."""
    num_layers, num_heads = values.shape
    figure = go.Figure()
    for head in range(num_heads):
        figure.add_scatter(
            x=np.arange(1, num_layers + 1), y=values[:, head], mode="markers", name=f"head {head + 1}",
            marker={"size": 10}, hovertemplate=f"layer %{{x}}, head {head + 1}: %{{y:.2f}} px<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=uniform, line={"dash": "dot", "color": GREY})
    figure.add_annotation(
        text=f"dotted: uniform attention, {uniform:.1f} px", showarrow=False,
        x=0, xref="paper", xanchor="left", y=1, yref="paper", yanchor="bottom",
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "layer", "dtick": 1, "range": [0.5, num_layers + 0.5]},
        yaxis={"title": "mean attention distance (px)", "rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
        margin={"l": 50, "r": 10, "t": 30, "b": 50},
        height=360,
        showlegend=1 < num_heads <= 8,
    )
    return figure


# What a key shows is warm, where it stands is cold; the query's half makes the shade.
TERM_COLORS = ("#D55E00", "#6FB1E0", "#F2A65E", "#0F7AC0")


def term_bars(shares: NDArray[np.float32], terms: Sequence[str]) -> go.Figure:
    """Shares (H, T) of named terms as a bar a head, stacked; what works against the others hangs below 0."""
    heads = [str(number + 1) for number in range(len(shares))]
    figure = go.Figure()
    for name, values, color in zip(terms, shares.T, TERM_COLORS, strict=True):
        figure.add_bar(
            x=heads, y=values, name=name, marker={"color": color}, texttemplate="%{y:.0%}", textposition="inside",
            textangle=0, hovertemplate=f"head %{{x}}, {name}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        barmode="relative", uniformtext={"mode": "hide", "minsize": 10}, bargap=0.35,
        xaxis={"title": "head", "type": "category"},
        yaxis={"title": "share of the scores' variance", "tickformat": ".0%"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        margin={"l": 60, "r": 10, "t": 10, "b": 40}, height=340,
    )  # fmt: skip
    return figure


def trial_curves(trials: Sequence[tuple[str, str, Mapping[int, float]]], best: str = "") -> go.Figure:
    """Test accuracy by epoch of many models, (name, phase, accuracy by epoch 0..1) each; pruned ones are faint."""
    figure = go.Figure()
    orange = SPLIT_COLORS["held-out"]
    last = max((max(curve) for _, _, curve in trials if curve), default=0)
    step = max(1, last // 10)
    looks = {
        "pruned": {"color": GREY, "width": 1, "dash": "dot"},
        "failed": {"color": GREY, "width": 1, "dash": "dash"},
        "running": {"color": orange, "width": 1.5, "dash": "dot"},
        "done": {"color": orange, "width": 1.5},
        "best": {"color": orange, "width": 3.5},
    }
    for phase, line in looks.items():
        x: list[int | None] = []
        y: list[float | None] = []
        names: list[str] = []
        for name, found, curve in trials:
            if curve and phase == ("best" if name == best else found):
                x += [*sorted(curve), None]  # a gap between one model and the next
                y += [*(100 * curve[epoch] for epoch in sorted(curve)), None]
                names += [name] * (len(curve) + 1)
        if x:
            label = f"best, {best}" if phase == "best" else phase
            figure.add_scatter(
                x=x, y=y, text=names, name=label, mode="lines+markers", line=line, marker={"size": 4},
                opacity=1 if phase == "best" else 0.65, hovertemplate="%{text}, epoch %{x}: %{y:.1f} %<extra></extra>",
            )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "epoch", "rangemode": "tozero", "tickformat": "d", "minallowed": 0, "dtick": step},
        yaxis={"title": "test accuracy (%)"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 50, "r": 10, "t": 10, "b": 50},
        height=360,
        showlegend=True,
    )
    return figure


@dataclass(frozen=True)
class Axis:
    """One axis of a parallel-coordinates plot: where each model stands on it, 0..1, and its ticks."""

    title: str
    places: Sequence[float]
    ticks: Mapping[float, str]


def chosen_axis(title: str, values: Sequence[Any], choices: Sequence[Any]) -> Axis:
    """An axis of listed values, evenly apart."""
    places = {choice: (index + 0.5) / len(choices) for index, choice in enumerate(choices)}
    return Axis(title, [places[value] for value in values], {place: str(value) for value, place in places.items()})


def range_axis(
    title: str, values: Sequence[float], low: float, high: float, *, log: bool = False, form: str = ".3g"
) -> Axis:
    """An axis of the numbers from `low` to `high`."""
    scale = np.log10 if log else np.asarray
    start, end = float(scale(low)), float(scale(high))
    width = (end - start) or 1.0
    ticks = np.linspace(start, end, 3 if end > start else 1)
    return Axis(
        title,
        [(float(scale(value)) - start) / width for value in values],
        {(tick - start) / width: format(10**tick if log else tick, form) for tick in ticks},
    )


def parallel_coordinates(axes: Sequence[Axis], names: Sequence[str], values: Sequence[float]) -> go.Figure:
    """A line for each model across its settings: the higher its value among all, the stronger and warmer its colour."""
    low, high = min(values), max(values)
    shares = [(value - low) / ((high - low) or 1) for value in values]
    shades = sample_colorscale([[0, GREY], [1, SPLIT_COLORS["held-out"]]], list(np.linspace(0, 1, 8)))
    figure = go.Figure()
    for shade, color in enumerate(shades):
        chosen = [row for row, share in enumerate(shares) if round(share * (len(shades) - 1)) == shade]
        x: list[int | None] = []
        y: list[float | None] = []
        text: list[str] = []
        for row in chosen:
            x += [*range(len(axes)), None]
            y += [*(axis.places[row] for axis in axes), None]
            text += [names[row]] * (len(axes) + 1)
        figure.add_scatter(
            x=x, y=y, text=text, mode="lines+markers", line={"color": color, "width": 1 + 1.5 * shade / 7},
            marker={"size": 5}, hovertemplate="%{text}<extra></extra>", showlegend=False,
        )  # fmt: skip
    for place, axis in enumerate(axes):
        figure.add_vline(x=place, line={"width": 1, "color": GREY}, layer="below")
        for at, label in axis.ticks.items():
            figure.add_annotation(x=place, y=at, text=label, showarrow=False, xanchor="left", xshift=6, yshift=8)
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(axes))), "ticktext": [axis.title for axis in axes], "showgrid": False,
            "side": "top", "range": [-0.35, len(axes) - 0.6], "fixedrange": True,
        },
        yaxis={"visible": False, "range": [-0.08, 1.12], "fixedrange": True},
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        height=360,
        hovermode="closest",
    )  # fmt: skip
    return figure


def accuracy_by_epoch(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> go.Figure:
    """Test accuracy 0..1 by epoch, a line for each name; peaks stay where a long curve is thinned."""
    figure = go.Figure()
    for name, (epochs, accuracy) in curves.items():
        x, y = thin(np.array(epochs, float), np.array(accuracy, float))
        figure.add_scatter(x=x, y=y, mode="lines+markers" if len(x) == 1 else "lines", name=escape(name))
    figure.update_layout(
        xaxis={"title": "epoch", "rangemode": "tozero"},
        yaxis={"title": "test accuracy", "tickformat": ".0%"},
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 50, "r": 10, "t": 10, "b": 50},
        height=380,
        showlegend=True,
    )
    return figure


METHOD_COLOR = "#7A6BF0"  # of what is held against chance, which is grey
BELOW = {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"}  # a legend that may wrap without meeting a title


def removal_curves(
    curves: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]], what: str, method: str
) -> go.Figure:
    """A panel per named curve (N,) of a probability, as patches go or come, over random orders (R, N): mean ± sd.

    A line break in a name is one in its title: on a phone two titles stand side by side in 290 px.
    """
    titles = [escape(name).replace("\n", "<br>") for name in curves]
    figure = make_subplots(1, len(curves), shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    figure.update_annotations(font_size=13)
    for column, (curve, by_chance) in enumerate(curves.values(), start=1):
        steps, first = np.arange(len(curve)), column == 1
        mean, sd = by_chance.mean(0), by_chance.std(0)
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": "random"}
        figure.add_scatter(x=steps, y=mean + sd, showlegend=False, **band, row=1, col=column)
        figure.add_scatter(
            x=steps, y=mean - sd, fill="tonexty", fillcolor="rgba(138, 141, 153, 0.3)", showlegend=False, **band,
            row=1, col=column,
        )  # fmt: skip
        for name, values, color, dash in (
            (f"{len(by_chance)} random orders, mean ± sd", mean, GREY, "dash"),
            (method, curve, METHOD_COLOR, "solid"),
        ):
            figure.add_scatter(
                x=steps, y=values, name=name, showlegend=first, legendgroup=name, mode="lines",
                line={"color": color, "dash": dash, "width": 2}, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="patches", range=[0, len(steps) - 1])
    figure.update_yaxes(range=[0, 1])
    figure.update_yaxes(title=escape(what), col=1)
    figure.update_layout(height=340, margin={"l": 60, "r": 10, "t": 50, "b": 90}, legend=BELOW)
    return figure


def over_epochs(
    epochs: Sequence[int],
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    chance: Mapping[str, float],
    title: str,
) -> go.Figure:
    """Named shares at saved epochs, each (value, low, high), and a dotted line at what chance gives."""
    figure = go.Figure()
    for (name, shares), color in zip(curves.items(), (METHOD_COLOR, "#D98A00"), strict=False):
        values, lows, highs = np.array(shares).T
        bars = {"array": highs - values, "arrayminus": values - lows, "thickness": 1, "width": 3}
        figure.add_scatter(
            x=list(epochs), y=values, error_y=bars, name=name, mode="lines+markers", line={"color": color},
            customdata=np.stack([lows, highs], 1),
            hovertemplate="%{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})",
        )  # fmt: skip
        figure.add_hline(
            y=chance[name], line_dash="dot", line_color=color, annotation_text=f"chance {chance[name]:.0%}",
            annotation_position="bottom right",
        )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "epoch (0 is untrained)", "dtick": max(1, max(epochs) // 8)},
        yaxis={"title": title, "tickformat": ".0%", "range": [0, 1.02]},
        height=340, margin={"l": 60, "r": 10, "t": 10, "b": 90}, legend=BELOW,
    )  # fmt: skip
    return figure


def map_grid(
    maps: NDArray[np.float32], *, rows: Sequence[str], columns: Sequence[str], title: str, top: float
) -> go.Figure:
    """Small signed maps (R, C, n) in rows and columns on one scale round 0, to ±`top`; `title` names its numbers."""
    R, C, grid = *maps.shape[:2], round(maps.shape[2] ** 0.5)
    cell = grid + max(1, grid // 4)
    tiles = np.full((R, cell, C, cell), np.nan)
    tiles[:, :grid, :, :grid] = maps.reshape(R, C, grid, grid).transpose(0, 2, 1, 3)
    figure = go.Figure(
        go.Heatmap(
            z=tiles.reshape(R * cell, C * cell)[: grid - cell, : grid - cell],
            zmin=-top,
            zmax=top,
            colorscale="RdBu_r",
            colorbar={"title": title, "thickness": 14},
            hoverinfo="z",
            hoverongaps=False,
        )
    )
    middle, axis = (grid - 1) / 2, {"showgrid": False, "zeroline": False, "constrain": "domain", "ticks": ""}
    figure.update_layout(
        xaxis={**axis, "tickvals": np.arange(C) * cell + middle, "ticktext": list(columns), "side": "top"},
        yaxis={
            **axis,
            "tickvals": np.arange(R) * cell + middle,
            "ticktext": list(rows),
            "autorange": "reversed",
            "scaleanchor": "x",
        },
        margin={"l": 40, "r": 10, "t": 30, "b": 10},
        height=max(240, 60 + 130 * R),
    )
    return figure
