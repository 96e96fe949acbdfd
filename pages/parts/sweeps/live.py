"""A sweep: its state and buttons, its best trial, the curves and settings of its trials, and a table of them."""

from typing import Any

import streamlit as st

from minivit.figures import Axis, choice_axis, parallel_coordinates, range_axis, trial_curves
from minivit.runs import find_run
from minivit.sweep import (
    Sweep,
    TrialInfo,
    Vary,
    best_trial,
    find_sweep,
    format_params,
    list_sweeps,
    selection_note,
    start_workers,
    variable_settings,
    without_password,
)
from pages.parts.runs.status import phase_badge, run_links
from pages.parts.shell.access import may_change
from pages.parts.shell.url import bind_to_url, param
from pages.parts.shell.wording import escape_markdown


def pick_sweep() -> Sweep:
    """The URL's sweep, or the newest; stops the page if there are none."""
    names = [sweep.id for sweep in list_sweeps()]
    url_id = param("sweep")
    if url_id and url_id not in names:
        find_sweep(url_id)  # raises: there is no such sweep
    if not names:
        st.info("The accuracy curves appear here once you start a sweep.")
        st.stop()
    name = bind_to_url("sweep", url_id or names[0], st.selectbox, "Sweep", names)
    return _open(name, find_sweep(name).path.stat().st_ino)


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(name: str, inode: int) -> Sweep:
    """A sweep that all sessions share, because it reads only what was appended to its journal."""
    return find_sweep(name)


def live_sweep(sweep: Sweep) -> None:
    """Everything about the sweep; the page reruns when its workers start or end."""
    active = sweep.active
    trials = sweep.trials()
    if st.session_state.setdefault(f"sweeps_active_{sweep.id}", active) != active:
        del st.session_state[f"sweeps_active_{sweep.id}"]
        st.rerun()
    _headline(sweep, active, trials)
    _buttons(sweep, active, trials)
    best = best_trial(trials)
    if best:
        params = escape_markdown(format_params(best.params))
        st.markdown(f"Best: **{best.accuracy:.1%}** test accuracy, trial {best.number}, {params}")
        if note := selection_note(trials):
            st.caption(note)
        if run := sweep.run_of(best):
            run_links(run)
    if not any(trial.curve for trial in trials):
        st.caption("Curves appear here after the first epoch of the first trial.")
        return
    curves = [(f"trial {trial.number}", trial.phase, trial.curve) for trial in trials if trial.curve]
    st.plotly_chart(trial_curves(curves, f"trial {best.number}" if best else ""), key=f"sweeps_curves_{sweep.id}")
    parallel_settings(sweep, trials)
    trial_table(sweep, trials)


def _headline(sweep: Sweep, active: bool, trials: list[TrialInfo]) -> None:
    phases = ("done", "pruned", "failed", "training")
    counts = {phase: sum(trial.phase == phase for trial in trials) for phase in phases}
    counts["queued"] = len(trials) - sum(counts.values())
    with st.container(horizontal=True, vertical_alignment="center"):
        is_complete = not (counts["queued"] or counts["training"])
        finished = "done" if is_complete else "stopped"
        phase_badge("training" if active else finished)
        st.text(f"{len(trials)} trials: " + ", ".join(f"{count} {phase}" for phase, count in counts.items() if count))
    if sweep.storage_url:
        url = escape_markdown(without_password(sweep.storage_url))
        st.caption(f"Study {escape_markdown(sweep.id)} at {url}")
    if sweep.problem and not active:
        st.error(escape_markdown(sweep.problem), icon=":material/error:")


def _buttons(sweep: Sweep, active: bool, trials: list[TrialInfo]) -> None:
    num_failed = sum(trial.phase == "failed" and not trial.retried for trial in trials)
    if not may_change():
        return
    with st.container(horizontal=True):
        if active and st.button("Stop", key="sweeps_stop", icon=":material/stop:"):
            sweep.request("stop")
        can_resume = not active and any(trial.phase == "queued" for trial in trials)
        if can_resume and st.button("Resume", key="sweeps_resume", icon=":material/play_arrow:", type="primary"):
            start_workers(sweep)
            st.rerun()
        if num_failed and st.button(f"Retry {num_failed} failed", key="sweeps_retry", icon=":material/replay:"):
            sweep.retry()
            start_workers(sweep)
            st.rerun()


def parallel_settings(sweep: Sweep, trials: list[TrialInfo]) -> None:
    """A line for each trial across the varied settings to its accuracy."""
    finished = [trial for trial in trials if trial.accuracy is not None]
    if not finished:
        return
    accuracies = [100 * (trial.accuracy or 0) for trial in finished]
    axes = [_axis(vary, [trial.params[vary.name] for trial in finished]) for vary in sweep.config.vary]
    axes.append(range_axis("accuracy (%)", accuracies, min(accuracies), max(accuracies), fmt=".1f"))
    names = [
        f"trial {trial.number}, {trial.phase}: {format_params(trial.params)}, {trial.accuracy:.1%}"
        for trial in finished
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
    positions = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"sweeps_table_{sweep.id}",
        column_config={"test accuracy": st.column_config.NumberColumn(format="percent")},
    ).selection.rows
    for index in positions:
        if by_accuracy[index].is_local:
            run_links(find_run(by_accuracy[index].run_id))


def _axis(vary: Vary, values: list[Any]) -> Axis:
    title = variable_settings()[vary.name].title
    if vary.values:
        return choice_axis(title, values, vary.values)
    assert vary.low is not None and vary.high is not None
    return range_axis(title, values, vary.low, vary.high, log=vary.log)
