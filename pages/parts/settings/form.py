"""The form of Train and Sweeps: preset, data, basic settings, estimated time and start button, then all others."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import streamlit as st
from cachetools import LRUCache, cached
from streamlit.delta_generator import DeltaGenerator

from minivit.config import TrainConfig
from minivit.engine import estimate_seconds, same_speed, time_of_all
from pages.parts.settings.dataset import pick_dataset, pick_images
from pages.parts.settings.fields import pick_preset
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import fragment, show_errors
from pages.parts.shell.wording import duration

WAIT_SECONDS = 0.3  # enough for small models
_executor = ThreadPoolExecutor(1, thread_name_prefix="estimate")
_estimates: LRUCache[tuple[TrainConfig, int, int], Future[float]] = LRUCache(64)
_lock = threading.Lock()


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
                _size_and_time(plan, len(train_set), len(test_set))
            with summary.container(key="settings_start"):
                is_started = st.button(button, type="primary", icon=":material/play_arrow:", width="stretch")
            if is_started:
                plan.start()


def _size_and_time(plan: Plan, num_train: int, num_test: int) -> None:
    """Draws what is trained, and how long it takes once that is known.

    Raises a MiniViTError for settings that this machine cannot train.
    """
    size = f"{plan.size} · **{num_train:,}** training images"
    keys = [(same_speed(config), num_train, num_test) for config in plan.configs]
    estimates = [_estimate(*key) for key in keys]
    if wait(estimates, WAIT_SECONDS).not_done:
        fragment(lambda: _wait_for(size, estimates), every=1)
        return
    for key, estimate in zip(keys, estimates, strict=True):
        if estimate.exception():
            with _lock:
                _estimates.pop(key, None)  # memory may be free the next time
    seconds = time_of_all([estimate.result() for estimate in estimates], plan.num_runs, plan.num_parallel)
    st.markdown(f"{size} · ≈ **{duration(seconds)}** on this machine")


@cached(_estimates, key=lambda *key: key, lock=_lock)
def _estimate(config: TrainConfig, num_train: int, num_test: int) -> Future[float]:
    return _executor.submit(estimate_seconds, config, num_train, num_test)


def _wait_for(size: str, estimates: Sequence[Future[float]]) -> None:
    if all(estimate.done() for estimate in estimates):
        st.rerun()
    st.markdown(f"{size} · timing a few steps …")
