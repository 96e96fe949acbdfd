"""A sweep as its page shows it: what varies, who works on it, and its trials as curves, lines and a table."""

from typing import Any

import streamlit as st

from minivit.config import Setting, TrainConfig
from minivit.figures import Axis, choice_axis, parallel_coordinates, range_axis, trial_curves
from minivit.runs import find_run
from minivit.sweep import (
    Sweep,
    SweepConfig,
    TrialInfo,
    Vary,
    best_trial,
    find_sweep,
    format_params,
    list_sweeps,
    start_workers,
    sweep_settings,
    variable_settings,
    without_password,
)
from pages.parts.runs.status import run_links
from pages.parts.settings.form import setting_widget
from pages.parts.shell.url import bind_to_url, go, param
from pages.parts.shell.wording import escape_markdown

HOW = "Values with commas between them, or a range as 1e-4..1e-2; add :log to it for a logarithmic scale."


def choose_sweep(base: TrainConfig) -> SweepConfig:
    """Widgets for what varies and how trials are chosen."""
    known = variable_settings()
    names = st.multiselect(
        "Vary", list(known), ["lr"], lambda name: known[name].title, key="sweeps_vary", persist_state="session",
        help="Settings that differ between the models; all others are the same.", wrap=True,
    )  # fmt: skip
    texts = {name: _text(known[name], base) for name in names}
    own = {one.name: setting_widget(one, one.default, "sweep") for one in sweep_settings()}
    return SweepConfig(base=base, vary=tuple(Vary.parse(f"{name}={text}") for name, text in texts.items()), **own)


def start_sweep(config: SweepConfig, storage: str) -> None:
    """Makes the study, starts its workers and goes to its live part."""
    sweep = Sweep.create(config, storage=storage.strip())
    start_workers(sweep)
    go("sweeps", sweep=sweep.id)


def pick_sweep() -> Sweep:
    """The sweep of the URL, or the newest; ends the page where there is none."""
    names = [sweep.id for sweep in list_sweeps()]
    wanted = param("sweep")
    if wanted and wanted not in names:
        find_sweep(wanted)
    if not names:
        st.info("The curves of the sweep appear here once you start one.")
        st.stop()
    name = bind_to_url("sweep", wanted or names[0], lambda **how: st.selectbox("Shown sweep", names, **how))
    return _opened(name, find_sweep(name).path.stat().st_ino)


@st.cache_resource(max_entries=8, show_spinner=False)
def _opened(name: str, inode: int) -> Sweep:
    """A sweep whose journal is read on from where it was read to."""
    return find_sweep(name)


def live_sweep(sweep: Sweep) -> None:
    """The sweep as it is now; the page is drawn anew when its workers start or end."""
    active, trials = sweep.active, sweep.trials()
    if st.session_state.setdefault(f"sweeps_active_{sweep.id}", active) != active:
        del st.session_state[f"sweeps_active_{sweep.id}"]
        st.rerun()
    best = best_trial(trials)
    _headline(sweep, active, trials)
    _buttons(sweep, active, trials)
    if best:
        st.markdown(
            f"Best: **{best.accuracy:.1%}** test accuracy, trial {best.number}, "
            f"{escape_markdown(format_params(best.params))}"
        )
        if run := sweep.run_of(best):
            run_links(run)
    begun = [tried for tried in trials if tried.curve]
    if not begun:
        st.caption("Curves appear here after the first epoch of the first trial.")
        return
    curves = [(f"trial {tried.number}", tried.phase, tried.curve) for tried in begun]
    st.plotly_chart(trial_curves(curves, f"trial {best.number}" if best else ""), key=f"sweeps_curves_{sweep.id}")
    _lines(sweep, [tried for tried in trials if tried.accuracy is not None])
    _table(sweep, trials)


def _headline(sweep: Sweep, active: bool, trials: list[TrialInfo]) -> None:
    counts = {phase: sum(tried.phase == phase for tried in trials) for phase in ("done", "pruned", "failed", "running")}
    waiting = len(trials) - sum(counts.values())
    with st.container(horizontal=True, vertical_alignment="center"):
        if active:
            st.badge("at work", color="violet", icon=":material/model_training:")
        elif waiting or counts["running"]:
            st.badge("stopped", color="gray", icon=":material/stop:")
        else:
            st.badge("done", color="green", icon=":material/check:")
        said = [f"{count} {phase}" for phase, count in {**counts, "waiting": waiting}.items() if count]
        st.text(f"{len(trials)} trials: " + ", ".join(said))
    if sweep.storage_url:
        st.caption(f"shared as {escape_markdown(sweep.id)} at {escape_markdown(without_password(sweep.storage_url))}")
    if sweep.problem and not active:
        st.error(escape_markdown(sweep.problem), icon=":material/error:")


def _buttons(sweep: Sweep, active: bool, trials: list[TrialInfo]) -> None:
    failed = sum(tried.phase == "failed" and not tried.retried for tried in trials)
    with st.container(horizontal=True):
        if active and st.button("Stop", key="sweeps_stop", icon=":material/stop:"):
            sweep.request("stop")
        waits = not active and any(tried.phase == "waiting" for tried in trials)
        if waits and st.button("Resume", key="sweeps_resume", icon=":material/play_arrow:", type="primary"):
            start_workers(sweep)
            st.rerun()
        if failed and st.button(f"Try {failed} failed again", key="sweeps_retry", icon=":material/replay:"):
            sweep.retry()
            start_workers(sweep)
            st.rerun()


def _lines(sweep: Sweep, trials: list[TrialInfo]) -> None:
    """A line for each trial across the settings to its accuracy."""
    if not trials:
        return
    accuracies = [100 * (tried.accuracy or 0) for tried in trials]
    axes = [_axis(one, [tried.params[one.name] for tried in trials]) for one in sweep.config.vary]
    axes.append(range_axis("accuracy (%)", accuracies, min(accuracies), max(accuracies), fmt=".1f"))
    names = [
        f"trial {tried.number}, {tried.phase}: {format_params(tried.params)}, {accuracy:.1f} %"
        for tried, accuracy in zip(trials, accuracies, strict=True)
    ]
    st.plotly_chart(parallel_coordinates(axes, names, accuracies), key=f"sweeps_lines_{sweep.id}")


def _axis(vary: Vary, values: list[Any]) -> Axis:
    title = variable_settings()[vary.name].title
    if vary.values:
        return choice_axis(title, values, vary.values)
    assert vary.low is not None and vary.high is not None
    return range_axis(title, values, vary.low, vary.high, log=vary.log)


def _table(sweep: Sweep, trials: list[TrialInfo]) -> None:
    """All trials; the pages of the run of a chosen one."""
    rows = [
        {
            "trial": tried.number, "state": tried.phase, "test accuracy": tried.accuracy,
            "epoch": max(tried.curve, default=None), **tried.params, "why": tried.message, "run": tried.run_id,
        }
        for tried in trials
    ]  # fmt: skip
    chosen = st.dataframe(
        rows, hide_index=True, on_select="rerun", selection_mode="single-row", key=f"sweeps_table_{sweep.id}",
        column_config={"test accuracy": st.column_config.NumberColumn(format="percent")},
    ).selection.rows  # fmt: skip
    for row in chosen:
        if trials[row].is_local:
            run_links(find_run(trials[row].run_id))


def _text(one: Setting, base: TrainConfig) -> str:
    """A field for the values of one setting, beginning with some that fit."""
    return st.text_input(
        f"Values of {one.title.lower()}", ",".join(map(str, _some(one, one.value(base)))),
        key=f"sweeps_values_{one.name}", persist_state="session", help=f"{one.help} {HOW}",
    )  # fmt: skip


def _some(one: Setting, value: Any) -> list[Any]:
    """Values that fit a setting: all of its choices, or some around the one it has."""
    if one.choices or one.kind is bool:
        return [str(choice).lower() if one.kind is bool else choice for choice in one.choices or (True, False)]
    around = (value // 2, value, 2 * value) if one.kind is int else (round(value / 3, 5), value, round(3 * value, 5))
    low, high = one.minimum if one.minimum is not None else 1e-6, one.maximum or 0
    return sorted({number for number in around if low <= number <= high})
