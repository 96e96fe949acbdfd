"""Several selected runs compared: curves, scores, the settings in which they differ, and downloads."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import streamlit as st

from minivit.figures import RUN_LINES, Axes, NamedCurve, metric_curves
from minivit.runs import Run, summarize
from minivit.runs.comparison import Axis, curve, curves_to_csv, image_difference, short_names, to_csv, to_json
from pages.parts.runs.table import column_config, percent, setting_columns
from pages.parts.shell.frame import download
from pages.parts.shell.url import bind_to_url, param, pick_param

MAX_CURVES = len(RUN_LINES)
AXES: dict[str, Axis] = {"epoch": "epoch", "training time": "time", "images seen": "images"}
SPLITS = ("test", "train")
LOG_AXES = ("x", "loss")
TIME_UNITS = ((3600, "h"), (60, "min"), (1, "s"))
DASHES = {"solid": "━━━━", "dash": "━ ━ ━", "dot": "• • • •"}  # in the table
MAX_SMOOTHING = 0.99


class CurveView(NamedTuple):
    """How the curves are drawn."""

    axis: Axis
    split: str
    smoothing: float
    log: list[str]


def compare_runs(selected: Sequence[Run]) -> None:
    """Everything about several runs; the link restores it."""
    st.header(f"Comparison of {len(selected)} runs", anchor=False)
    runs = selected[:MAX_CURVES]
    if len(selected) > len(runs):
        st.caption(f"The curves and settings below are of the first {len(runs)}; downloads contain all.")
    names = short_names(runs)
    view = _pick_view()
    _charts(runs, names, view)
    if view.split == "train":
        for note in dict.fromkeys(run.config.train_loss_note for run in runs):
            st.caption(note)
    _table(runs, names)
    with st.container(horizontal=True, vertical_alignment="center"):
        _image_by_image(runs)
        download("Table (CSV)", lambda: to_csv(selected), "runs.csv")
        download("Curves (CSV)", lambda: curves_to_csv(selected), "curves.csv")
        download("Everything (JSON)", lambda: to_json(selected, with_rows=True), "runs.json")


def _pick_view() -> CurveView:
    axis, split, smoothing, log = st.columns([1.6, 1, 1.4, 1], vertical_alignment="bottom")
    with axis:
        by = pick_param("x", "epoch", st.segmented_control, "x-axis", list(AXES), required=True)
    with split:
        of_split = pick_param("split", "test", st.segmented_control, "Curves", SPLITS, required=True)
    with smoothing:
        text = "Weight of earlier epochs in a moving average; the measured values stay visible behind it."
        weight = bind_to_url(
            "smoothing", _smoothing(), st.slider, "Smoothing", 0.0, MAX_SMOOTHING, step=0.01, help=text
        )
    with log:
        axes = [name for name in LOG_AXES if name in param("log").split(",")]
        axes = bind_to_url("log", axes, st.pills, "Log scale", LOG_AXES, selection_mode="multi")
    return CurveView(AXES[by], of_split, weight, axes)


def _smoothing() -> float:
    try:
        return min(max(float(param("smoothing") or 0), 0.0), MAX_SMOOTHING)
    except ValueError:
        return 0.0


def _charts(runs: Sequence[Run], names: dict[str, str], view: CurveView) -> None:
    """Loss and accuracy, with a star at the best epoch; the table below is their legend."""
    rows = {run.id: run.metrics() for run in runs}
    best = {run.id: _best_index(rows[run.id]) for run in runs}
    seconds, unit = 1, ""
    if view.axis == "time":
        longest = max((curve(each, "test_acc", "time").x[-1] for each in rows.values() if each), default=0)
        seconds, unit = next(((size, name) for size, name in TIME_UNITS if longest >= 3 * size), TIME_UNITS[-1])
    titles = {"epoch": "epoch", "time": f"training time ({unit})", "images": "images seen"}
    for column, metric, title in zip(st.columns(2), ("loss", "acc"), ("loss (nats)", "accuracy"), strict=True):
        curves = {}
        for run in runs:
            x, y = curve(rows[run.id], f"{view.split}_{metric}", view.axis)
            curves[names[run.id]] = [NamedCurve(names[run.id], [value / seconds for value in x], y, best[run.id])]
        axes = Axes(
            x=titles[view.axis],
            y=f"{view.split} {title}",
            percent=metric == "acc",
            log_x="x" in view.log,
            log_y="loss" in view.log and metric == "loss",
        )
        figure = metric_curves(curves, dict(zip(curves, RUN_LINES, strict=False)), axes, view.smoothing)
        column.plotly_chart(figure.update_layout(showlegend=False, height=320), key=f"runs_curves_{metric}")


def _best_index(rows: Sequence[dict]) -> int | None:
    """Where the metrics have their highest test accuracy, the earliest of equals; None if there are none."""
    return max(range(len(rows)), key=lambda index: rows[index]["test_acc"], default=None)


def _table(runs: Sequence[Run], names: dict[str, str]) -> None:
    """A row per run: its line in the charts, its scores, and the settings in which the runs differ."""
    rows = [run.metrics() for run in runs]
    best = [each[index] if (index := _best_index(each)) is not None else None for each in rows]
    configs = [run.config for run in runs]
    different = setting_columns(configs)
    table = pd.DataFrame(
        {
            "line": [DASHES[line["dash"]] for line in RUN_LINES[: len(runs)]],
            "run": [names[run.id] for run in runs],
            "test accuracy": [percent(summarize(run).test_acc) for run in runs],
            "best accuracy": [row and percent(row["test_acc"]) for row in best],
            "best epoch": [row and row["epoch"] for row in best],
            "epoch": [run.state.epoch for run in runs],
            **different,
        }
    )
    colors = [f"color: {line['color']}" for line in RUN_LINES[: len(runs)]]
    st.dataframe(
        table.style.apply(lambda column: colors, subset=["line"]),
        hide_index=True,
        height="content",
        column_config=column_config(configs),
    )
    if not different:
        st.caption("All settings are the same.")


def _image_by_image(runs: Sequence[Run]) -> None:
    """A link to Compare with the first two runs on the same test images."""
    pairs = ((first, second) for first in runs for second in runs if first != second)
    pair = next((pair for pair in pairs if not image_difference(*pair)), None)
    reason = None if pair else "The selected runs have different test images: another data set, classes or split."
    query = {"run": pair[0].id, "run2": pair[1].id} if pair else None
    label = "Compare two runs image by image"
    st.page_link("pages/compare.py", label=label, disabled=not pair, help=reason, query_params=query)
