"""The form of Train and Sweeps: preset, data, basic settings, time and the start button, then all other settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.config import TrainConfig
from pages.parts.settings.dataset import pick_dataset, pick_images
from pages.parts.settings.estimate import size_and_time
from pages.parts.settings.fields import pick_preset
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors


@dataclass(frozen=True)
class Plan:
    """What the start button does."""

    configs: Sequence[TrainConfig]  # of the run, or a sample if there are several
    size: str  # Markdown
    start: Callable[[], None]
    num_runs: int = 1
    num_parallel: int = 1


def start_form(
    button: str,
    pick_plan: Callable[[TrainConfig, DeltaGenerator], Plan],
    adjust: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> None:
    """The form; `pick_plan` draws its own widgets below the button, or above in the container that it is given.

    `adjust` changes the settings of a preset. Without valid images everything but the button is still drawn.
    """
    if not may_change():
        st.info("This server is read-only. Train on your own computer.")
        return
    with show_errors():
        base, has_images = pick_dataset(adjust(pick_preset())), False
        with show_errors():
            base, has_images = pick_images(base), True
        basics, summary = st.container(), st.container()
        with show_errors(summary):
            plan = pick_plan(base, basics)
            if not has_images:
                return
            train_set, test_set = cache.split(plan.configs[0])
            with summary:
                size = f"{plan.size} · **{len(train_set):,}** training images"
                size_and_time(size, plan.configs, len(train_set), len(test_set), plan.num_runs, plan.num_parallel)
            with summary.container(key="settings_start"):
                is_started = st.button(button, type="primary", icon=":material/play_arrow:", width="stretch")
            if is_started:
                plan.start()
