"""A run as pages show it: its state, its card, its buttons, and how one is started."""

from typing import Any, Literal

import numpy as np
import streamlit as st

from minivit import data
from minivit.config import TrainConfig
from minivit.figures import downsample
from minivit.machine import pick_device
from minivit.runs import Run, State, group_by_sweep, list_runs
from minivit.worker import start_worker
from pages.parts.shell.url import go, param, set_params
from pages.parts.shell.wording import run_title, sweep_title

COLOURS: dict[str, Literal["green", "red", "violet"]] = {
    "done": "green",
    "failed": "red",
    "training": "violet",
    "loading": "violet",
}
NUM_CARDS = 12
NUM_POINTS = 200  # of a sparkline
LINKS = {"train": "Curves", "predictions": "Predictions", "attention": "Attention", "compare": "Compare"}
STATE_SIGNS = {"done": "check", "failed": "error", "paused": "pause", "stopped": "stop", "queued": "hourglass_empty"}


def start(config: TrainConfig) -> None:
    """Starts a worker for a new run of `config` and goes to its live page."""
    data.check(config)
    pick_device(config.device, needed=config.devices)
    run = Run.create(config)
    start_worker(run)
    go("train", run=run.id)


def state_badge(state: State) -> None:
    """The phase as a coloured word with a sign."""
    sign = STATE_SIGNS.get(state.phase, "model_training")
    st.badge(state.phase, color=COLOURS.get(state.phase, "gray"), icon=f":material/{sign}:")


def run_cards() -> None:
    """The newest runs as cards, three in a row, a sweep as one; what to do where there is none."""
    runs = list_runs()
    if not runs:
        st.markdown("None yet. The button above starts one; **Train** lets you choose classes and settings first.")
    lines = group_by_sweep(runs)
    for row in range(0, len(lines[:NUM_CARDS]), 3):
        for column, line in zip(st.columns(3), lines[row : row + 3], strict=False):
            with column:
                sweep_card(line) if line[0].sweep else run_card(line[0])
    if len(lines) > NUM_CARDS:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")


def sweep_card(runs: list[Run]) -> None:
    """How far the runs of a sweep are, the best of them, and links to all."""
    best = best_run(runs)
    accuracies = [row["test_acc"] for row in best.metrics()]
    with st.container(border=True):
        st.text(sweep_title(runs[0].sweep))
        with st.container(horizontal=True, vertical_alignment="center"):
            state_badge(most_active(runs))
            st.caption(f"{len(runs)} runs")
        st.metric("best test accuracy", f"{accuracies[-1]:.1%}" if accuracies else "–")
        with st.container(horizontal=True, gap="small"):
            st.page_link("pages/sweeps.py", label="Sweep", query_params={"sweep": runs[0].sweep})
            st.page_link("pages/runs.py", label="Its runs", query_params={"sweep": runs[0].sweep})
            st.page_link("pages/predictions.py", label="Best run", query_params={"run": best.id})


def best_run(runs: list[Run]) -> Run:
    """The run of the highest test accuracy at its last epoch; the newest where none has come to one."""
    return max(runs, key=lambda run: (rows[-1]["test_acc"] if (rows := run.metrics()) else -1, run.id))


def most_active(runs: list[Run]) -> State:
    """The state of a run that trains, waits or failed, before that of one that is done: what a person looks for."""
    order = ("training", "loading", "queued", "failed", "paused", "stopped", "done")
    return min((run.state for run in runs), key=lambda state: order.index(state.phase))


def run_card(run: Run) -> None:
    """State, accuracy with a sparkline, and links into one run."""
    state, rows = run.state, run.metrics()
    accuracies = [row["test_acc"] for row in rows]
    with st.container(border=True):
        st.text(run_title(run))
        with st.container(horizontal=True, vertical_alignment="center"):
            state_badge(state)
            st.caption(f"epoch {state.epoch} of {run.config.epochs}")
        st.metric(
            "test accuracy",
            f"{accuracies[-1]:.1%}" if accuracies else "–",
            chart_data=sparkline(accuracies) if len(accuracies) > 1 else None,
        )
        run_links(run)


def unfolded(line: list[Run]) -> list[list[Run]]:
    """The runs of a line each in its own where the URL says that its sweep is open; else the line as it is."""
    return [[run] for run in line] if line[0].sweep and line[0].sweep == param("sweep") else [line]


def run_table(lines: list[list[Run]]) -> dict[str, list[Any]]:
    """The columns of a table with one row for each line; a sweep shows as its best run does."""
    shown = [line[0] if len(line) == 1 else best_run(line) for line in lines]
    states = [most_active(line) for line in lines]
    curves = [[row["test_acc"] for row in run.metrics()] for run in shown]
    return {
        "run": [
            run_title(line[0]) if len(line) == 1 else f"{sweep_title(line[0].sweep)} · {len(line)} runs"
            for line in lines
        ],
        "state": [state.phase for state in states],
        "epoch": [state.epoch for state in states],
        "test accuracy": [curve[-1] if curve else None for curve in curves],
        "over training": [sparkline(curve) for curve in curves],
        "model": [f"{run.config.model.depth} × {run.config.model.num_heads}" for run in shown],
        "data set": [run.config.dataset for run in shown],
        "folder": [str(run.path) for run in shown],
    }


def open_or_fold(line: list[Run]) -> None:
    """What a ticked line of a sweep leads to: the sweep's page, and its runs one by one or in one line again."""
    sweep = line[0].sweep
    if not sweep:
        return
    opened = param("sweep") == sweep
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link("pages/sweeps.py", label="This sweep", query_params={"sweep": sweep})
        if opened or len(line) > 1:
            st.button(
                "Its runs in one line" if opened else f"Its {len(line)} runs one by one", key="runs_open",
                on_click=set_params, kwargs={"sweep": None if opened else sweep},
            )  # fmt: skip


def sparkline(values: list[float]) -> list[float]:
    """A curve as a small picture needs it: its extremes are kept."""
    return downsample(np.arange(len(values), dtype=float), np.array(values, float), NUM_POINTS)[1].tolist()


def run_links(run: Run) -> None:
    """Links to everything that can be seen of one run."""
    with st.container(horizontal=True, gap="small"):
        for path, name in LINKS.items():
            st.page_link(f"pages/{path}.py", label=name, query_params={"run": run.id})


def run_buttons(run: Run, state: State) -> None:
    """What can be asked of a run in this state."""
    with st.container(horizontal=True):
        if state.active:
            if st.button("Pause", key="runs_pause", icon=":material/pause:"):
                run.request("pause")
            if st.button("Stop", key="runs_stop", icon=":material/stop:"):
                run.request("stop")
        elif state.phase != "done" and st.button(
            "Resume", key="runs_resume", icon=":material/play_arrow:", type="primary"
        ):
            start_worker(run)
            st.rerun()
