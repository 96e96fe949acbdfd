"""The estimated time of runs on this machine, measured in a thread, so that pages do not wait for it."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import streamlit as st
from cachetools import LRUCache, cached

from minivit.config import TrainConfig
from minivit.engine import estimate_seconds, same_speed, time_of_all
from pages.parts.shell.frame import fragment
from pages.parts.shell.wording import duration

WAIT_SECONDS = 0.3  # enough for small models
_executor = ThreadPoolExecutor(1, thread_name_prefix="estimate")
_estimates: LRUCache[tuple[TrainConfig, int, int], Future[float]] = LRUCache(64)
_lock = threading.Lock()


def size_and_time(
    size: str, configs: Sequence[TrainConfig], num_train: int, num_test: int, num_runs: int = 1, num_parallel: int = 1
) -> None:
    """Draws `size`, which is Markdown, and the time for `num_runs` runs, of which `configs` are a sample.

    The time appears once it is known. Raises a MiniViTError for settings that this machine cannot train.
    """
    keys = [(same_speed(config), num_train, num_test) for config in configs]
    estimates = [_estimate(*key) for key in keys]
    if wait(estimates, WAIT_SECONDS).not_done:
        fragment(lambda: _wait_for(size, estimates), every=1)
        return
    for key, estimate in zip(keys, estimates, strict=True):
        if estimate.exception():
            with _lock:
                _estimates.pop(key, None)  # memory may be free the next time
    seconds = time_of_all([estimate.result() for estimate in estimates], num_runs, num_parallel)
    st.markdown(f"{size} · ≈ **{duration(seconds)}** on this machine")


@cached(_estimates, key=lambda *key: key, lock=_lock)
def _estimate(config: TrainConfig, num_train: int, num_test: int) -> Future[float]:
    return _executor.submit(estimate_seconds, config, num_train, num_test)


def _wait_for(size: str, estimates: Sequence[Future[float]]) -> None:
    if all(estimate.done() for estimate in estimates):
        st.rerun()
    st.markdown(f"{size} · timing a few steps …")
