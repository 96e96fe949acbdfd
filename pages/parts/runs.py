"""A run as pages show it: its state, its card, its buttons, and how one is started."""

from typing import Literal

import numpy as np
import streamlit as st

from minivit import data
from minivit.config import TrainConfig
from minivit.figures import thin
from minivit.machine import pick_device
from minivit.runs import Run, State, list_runs
from minivit.worker import start_worker
from pages.parts.frame import go, run_title

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
    """The newest runs as cards, three in a row; what to do where there is none."""
    runs = list_runs()
    if not runs:
        st.markdown("None yet. The button above starts one; **Train** lets you choose classes and settings first.")
    for row in range(0, len(runs[:NUM_CARDS]), 3):
        for column, run in zip(st.columns(3), runs[row : row + 3], strict=False):
            with column:
                run_card(run)
    if len(runs) > NUM_CARDS:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")


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
            "held-out accuracy",
            f"{accuracies[-1]:.1%}" if accuracies else "–",
            chart_data=sparkline(accuracies) if len(accuracies) > 1 else None,
        )
        run_links(run)


def sparkline(values: list[float]) -> list[float]:
    """A curve as a small picture needs it: its extremes are kept."""
    return thin(np.arange(len(values), dtype=float), np.array(values, float), NUM_POINTS)[1].tolist()


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
                run.ask("pause")
            if st.button("Stop", key="runs_stop", icon=":material/stop:"):
                run.ask("stop")
        elif state.phase != "done" and st.button(
            "Resume", key="runs_resume", icon=":material/play_arrow:", type="primary"
        ):
            start_worker(run)
            st.rerun()
