"""The trials of a sweep: accuracy curves, a line per trial across the settings, and a table."""

from typing import Any

import streamlit as st

from minivit.figures import Axis, choice_axis, parallel_coordinates, range_axis, trial_curves
from minivit.runs import find_run
from minivit.sweep import Sweep, TrialInfo, Vary, format_params, variable_settings
from pages.parts.runs.status import run_links


def draw_trial_curves(sweep: Sweep, trials: list[TrialInfo], best: TrialInfo | None) -> None:
    """Test accuracy by epoch of each trial."""
    curves = [(_title(trial), trial.phase, trial.curve) for trial in trials if trial.curve]
    st.plotly_chart(trial_curves(curves, _title(best) if best else ""), key=f"sweeps_curves_{sweep.id}")


def parallel_settings(sweep: Sweep, trials: list[TrialInfo]) -> None:
    """A line for each trial across the varied settings to its accuracy."""
    finished = [trial for trial in trials if trial.accuracy is not None]
    if not finished:
        return
    accuracies = [100 * (trial.accuracy or 0) for trial in finished]
    axes = [_axis(vary, [trial.params[vary.name] for trial in finished]) for vary in sweep.config.vary]
    axes.append(range_axis("accuracy (%)", accuracies, min(accuracies), max(accuracies), fmt=".1f"))
    names = [
        f"{_title(trial)}, {trial.phase}: {format_params(trial.params)}, {trial.accuracy:.1%}" for trial in finished
    ]
    st.plotly_chart(parallel_coordinates(axes, names, accuracies), key=f"sweeps_lines_{sweep.id}")


def trial_table(sweep: Sweep, trials: list[TrialInfo]) -> None:
    """All trials, the most accurate first; links to the run of the selected one."""
    by_accuracy = sorted(trials, key=lambda trial: -1.0 if trial.accuracy is None else trial.accuracy, reverse=True)
    rows = [
        {
            "trial": trial.number,
            "state": trial.phase,
            "test accuracy": trial.accuracy,
            "epoch": max(trial.curve, default=None),
            **trial.params,
            "reason": trial.message,
            "run": trial.run_id,
        }
        for trial in by_accuracy
    ]
    selected = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"sweeps_table_{sweep.id}",
        column_config={"test accuracy": st.column_config.NumberColumn(format="percent")},
    ).selection.rows
    for index in selected:
        if by_accuracy[index].is_local:
            run_links(find_run(by_accuracy[index].run_id))


def _title(trial: TrialInfo) -> str:
    return f"trial {trial.number}"


def _axis(vary: Vary, values: list[Any]) -> Axis:
    title = variable_settings()[vary.name].title
    if vary.values:
        return choice_axis(title, values, vary.values)
    assert vary.low is not None and vary.high is not None
    return range_axis(title, values, vary.low, vary.high, log=vary.log)
