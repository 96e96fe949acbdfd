"""The form of Train and Sweeps: preset, data set, then size, time and the start button, then all other settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from minivit.config import TrainConfig
from pages.parts.settings.dataset import pick_data
from pages.parts.settings.estimate import size_and_time
from pages.parts.settings.fields import pick_preset
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors


@dataclass(frozen=True)
class Plan:
    """What the start button does."""

    configs: Sequence[TrainConfig]  # of the run, or examples if there are several
    size: str  # Markdown
    start: Callable[[], None]
    num_runs: float = 1  # one after another


def start_form(
    button: str,
    pick_plan: Callable[[TrainConfig], Plan],
    adjust: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> None:
    """The form; `pick_plan` draws its own widgets below the button, given the settings of preset and data set.

    `adjust` changes the settings of a preset.
    """
    if not may_change():
        st.info("This server is read-only. Train on your own computer.")
        return
    with show_errors():
        base = pick_data(adjust(pick_preset()))
        summary = st.container()
        with show_errors(summary):
            plan = pick_plan(base)
            train_set, test_set = cache.split(plan.configs[0])
            with summary:
                size_and_time(plan.size, plan.configs, len(train_set), len(test_set), plan.num_runs)
            with summary.container(key="settings_start"):
                is_started = st.button(button, type="primary", icon=":material/play_arrow:", width="stretch")
            if is_started:
                plan.start()
