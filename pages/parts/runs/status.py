"""A run's phase as a badge, its buttons, its links, and how a new one is started."""

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from minivit import data
from minivit.config import TrainConfig
from minivit.machine import pick_device
from minivit.processes import standby
from minivit.runs import (
    Run,
    State,
    extend,
    list_runs,
    request_learning_rate,
    requested_learning_rate,
    unused_seeds,
)
from minivit.worker import start_worker
from pages.parts.shell.access import allowed_path, may_change, require_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.url import open_page

BADGE_COLORS: dict[str, Literal["green", "red", "violet"]] = {
    "done": "green",
    "failed": "red",
    "training": "violet",
    "loading": "violet",
}
BADGE_ICONS = {"done": "check", "failed": "error", "paused": "pause", "stopped": "stop", "queued": "hourglass_empty"}
LINKS = {"train": "Curves", "predictions": "Predictions", "attention": "Attention", "compare": "Compare"}


def start_run(config: TrainConfig) -> None:
    """Starts a worker for a new run of `config` and opens its live page."""
    open_page("train", run=create_and_start(config).id)


def create_and_start(config: TrainConfig) -> Run:
    """A new run of `config`, and a worker for it."""
    check_can_train(config)
    run = Run.create(config)
    start_worker(run)
    return run


def check_can_train(config: TrainConfig) -> None:
    """A MiniViTError if `config` cannot be trained here, as its images are gone."""
    _require_permission(config)
    data.check(config)
    pick_device(config.device, local_world_size=config.devices)


def continue_run(run: Run, epochs: int | None = None) -> None:
    """Starts a worker for a run, to train up to `epochs` if given."""
    _require_permission(run.config)
    if epochs is not None:
        extend(run, epochs)
    start_worker(run)
    st.rerun()


def prepare_worker() -> None:
    """Has a worker import torch for the next run, unless a run trains, which that would slow down."""
    if may_change() and not any(run.state.active for run in list_runs()):
        standby.prepare()


def _require_permission(config: TrainConfig) -> None:
    """AccessError if visitors may not train, or not on these images, which an imported run may name."""
    require_change()
    allowed_path(config.data_dir)


def phase_badge(phase: str) -> None:
    """The phase of a run or sweep in color, with an icon."""
    icon = BADGE_ICONS.get(phase, "model_training")
    st.badge(phase, color=BADGE_COLORS.get(phase, "gray"), icon=f":material/{icon}:")


def run_links(run: Run) -> None:
    """Links to the pages of one run."""
    with st.container(horizontal=True, gap="small"):
        for path, name in LINKS.items():
            st.page_link(f"pages/{path}.py", label=name, query_params={"run": run.id})


def run_buttons(run: Run, state: State) -> None:
    """The commands that a run in this state accepts."""
    if run.is_example or not may_change():
        return
    with st.container(horizontal=True):
        if state.active:
            if st.button("Pause", key="runs_pause", icon=":material/pause:"):
                run.request("pause")
            if st.button("Stop", key="runs_stop", icon=":material/stop:"):
                run.request("stop")
            _learning_rate(run)
        elif state.phase == "done":
            if not run.config.imported:
                if not run.config.minutes:
                    _more_epochs(run)
                _controls(run)
        else:
            if st.button("Resume", key="runs_resume", icon=":material/play_arrow:", type="primary"):
                continue_run(run)
            _learning_rate(run)


def _more_epochs(run: Run) -> None:
    """A form that continues training of a finished run."""
    with st.popover("Train more epochs", icon=":material/more_time:"), show_errors():
        num_epochs = st.number_input("More epochs", 1, 10_000, min(10, run.config.epochs), key="runs_more_epochs")
        if run.config.schedule != "constant":
            st.caption(
                f"The schedule ({run.config.schedule}) is recomputed for the new total, and the learning rate "
                "continues from there."
            )
        if st.button("Continue training", key="runs_train_on", icon=":material/play_arrow:", type="primary"):
            continue_run(run, run.config.epochs + num_epochs)


def _learning_rate(run: Run) -> None:
    """A form that changes the learning rate from the next epoch on."""
    if run.config.minutes or run.config.imported:
        return
    with st.popover("Learning rate", icon=":material/speed:"), show_errors():
        current = run.config.lr_changes[-1][1] if run.config.lr_changes else run.config.lr
        if (requested := requested_learning_rate(run)) is not None:
            st.caption(f"{current:g} now, {requested:g} from the next epoch.")
        lr = st.number_input("New learning rate", value=current, format="%g", key=f"runs_lr_{run.id}")
        if run.config.schedule != "constant":
            st.caption(f"The schedule ({run.config.schedule}) goes on with this as its peak.")
        if st.button("Change from the next epoch", key="runs_change_lr", type="primary"):
            require_change()
            request_learning_rate(run, lr)
            st.toast(f"The learning rate is {lr:g} from the next epoch on.")


def _controls(run: Run) -> None:
    """Buttons that train what a finished run should be compared with."""
    with st.popover("Train controls", icon=":material/compare_arrows:"), show_errors():
        st.caption("The same settings with another seed. Do accuracy and maps depend on the seed?")
        if st.button("Two other seeds", key="runs_other_seeds"):
            _start_controls([run.config.changed(seed=seed) for seed in unused_seeds(run.config, 2)])
        st.caption(
            "The same images with training labels in random order. What do the maps of a model that learned nothing "
            "look like?"
        )
        if st.button("Shuffled labels", key="runs_shuffled_labels", disabled=run.config.shuffle_labels):
            _start_controls([run.config.changed(shuffle_labels=True)])


def _start_controls(configs: Sequence[TrainConfig]) -> None:
    for config in configs:  # all of them before the first is started
        check_can_train(config)
    for config in configs:
        create_and_start(config)
    st.toast(f"Runs started: {len(configs)}. When one is done, select it as the second run on Compare.")
