"""Several selected runs compared: curves, scores, the settings in which they differ, and downloads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from minivit.figures import RUN_LINES, Axes, NamedCurve, metric_curves
from minivit.runs import Run, summarize
from minivit.runs.comparison import Axis, curve, curves_to_csv, short_names, to_csv, to_json
from pages.parts.runs.table import column_config, setting_columns
from pages.parts.shell.cache import image_difference
from pages.parts.shell.url import bind_to_url, param

MAX_CURVES = len(RUN_LINES)
AXES: dict[str, Axis] = {"epoch": "epoch", "training time": "time", "images seen": "images"}
SPLITS = ("test", "train")
LOG_AXES = ("log x", "log loss")
MAX_SMOOTHING = 0.99


class View(NamedTuple):
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
    for column, metric in zip(st.columns(2), ("loss", "acc"), strict=True):
        with column:
            st.plotly_chart(_chart(runs, names, metric, view), key=f"runs_curves_{metric}")
    _table(runs, names)
    with st.container(horizontal=True, vertical_alignment="center"):
        _image_by_image(runs)
        _download("Table (CSV)", lambda: to_csv(selected), "runs.csv")
        _download("Curves (CSV)", lambda: curves_to_csv(selected), "curves.csv")
        _download("Everything (JSON)", lambda: to_json(selected, with_rows=True), "runs.json")


def _pick_view() -> View:
    axis, split, smoothing, log = st.columns([1.6, 1, 1.4, 1], vertical_alignment="bottom")
    with axis:
        current = param("x") if param("x") in AXES else "epoch"
        title = bind_to_url("x", current, lambda **options: st.segmented_control("By", AXES, required=True, **options))
    with split:
        current = param("split") if param("split") in SPLITS else "test"
        of_split = bind_to_url(
            "split", current, lambda **options: st.segmented_control("Images", SPLITS, required=True, **options)
        )
    with smoothing:
        weight = bind_to_url("smoothing", _smoothing(), _smoothing_slider)
    with log:
        chosen = [name for name in LOG_AXES if name in param("log").split(",")]
        chosen = bind_to_url("log", chosen, _log_pills, lambda names: ",".join(names) or None)
    return View(AXES[title], of_split, weight, chosen)


def _smoothing() -> float:
    try:
        return min(max(float(param("smoothing", "0")), 0.0), MAX_SMOOTHING)
    except ValueError:
        return 0.0


def _smoothing_slider(**options: Any) -> float:
    text = "Weight of earlier epochs in a moving average; the measured values stay visible behind it."
    return st.slider("Smoothing", 0.0, MAX_SMOOTHING, step=0.01, help=text, **options)


def _log_pills(**options: Any) -> list[str]:
    return st.pills("Axes", LOG_AXES, selection_mode="multi", **options)


def _chart(runs: Sequence[Run], names: dict[str, str], metric: str, view: View) -> Any:
    curves = {}
    for run in runs:
        x, y = curve(run.metrics(), f"{view.split}_{metric}", view.axis)
        curves[names[run.id]] = [NamedCurve(names[run.id], x, y)]
    title = "loss (nats)" if metric == "loss" else "accuracy"
    axes = Axes(
        x={"epoch": "epoch", "time": "training time (s)", "images": "images seen"}[view.axis],
        y=f"{view.split} {title}",
        percent=metric == "acc",
        log_x="log x" in view.log,
        log_y="log loss" in view.log and metric == "loss",
    )
    return metric_curves(curves, dict(zip(curves, RUN_LINES, strict=False)), axes, view.smoothing)


def _table(runs: Sequence[Run], names: dict[str, str]) -> None:
    """A row per run: its scores, and the settings in which the runs differ."""
    summaries = [summarize(run) for run in runs]
    configs = [run.config for run in runs]
    different = setting_columns(configs)
    st.dataframe(
        {
            "run": [names[run.id] for run in runs],
            "test accuracy": [summary.test_acc for summary in summaries],
            "best accuracy": [summary.best_acc for summary in summaries],
            "epoch": [run.state.epoch for run in runs],
            **different,
        },
        hide_index=True,
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


def _download(label: str, content: Any, name: str) -> None:
    st.download_button(
        label, content, file_name=name, on_click="ignore", icon=":material/download:", key=f"runs_{name}_{label}"
    )
