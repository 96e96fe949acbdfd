"""Long computations: an estimate before, progress during, and a button to cancel.

Streamlit ends a superseded script when it next writes to the page. So every report of progress is a point where a
click, or a closed page, ends the computation.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import streamlit as st
from cachetools import TTLCache, cached

from minivit.background_predictions import start_predicting, watch
from minivit.inference import Predictions
from minivit.machine import num_cores
from minivit.runs import Run
from pages.parts.shell import cache
from pages.parts.shell.frame import fragment
from pages.parts.shell.wording import duration, escape_markdown

MULTIPLICATIONS_PER_SECOND = 2.5e10  # of one CPU core
NOTICEABLE = 5  # seconds; a shorter computation needs no estimate
START_SECONDS = 20  # between two starts of the process for the same predictions
GROWTH = 1.5  # the page is redrawn when the number of predictions has grown by this factor


def estimate(multiplications: float) -> str:
    """How long a computation takes, as a sentence; empty if that is hardly noticeable."""
    seconds = multiplications / (MULTIPLICATIONS_PER_SECOND * num_cores())
    return f"This takes about {duration(seconds)}." if seconds > NOTICEABLE else ""


@contextmanager
def progress(label: str, cancel: str | Callable[[], None] | None = None) -> Iterator[Callable[[float], None]]:
    """Yields a function that shows the fraction done, 0..1, and the time left.

    `cancel` is the key of a toggle that a Cancel button turns off, or what the button calls.
    """
    placeholder = st.empty()
    with placeholder.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, escape_markdown(label))
        if cancel:
            on_click = partial(_turn_off, cancel) if isinstance(cancel, str) else cancel
            st.button("Cancel", key=f"cancel_{label}", on_click=on_click)
    start = time.perf_counter()

    def report(share: float) -> None:
        left = (time.perf_counter() - start) * (1 - share) / share if share else 0
        bar.progress(min(1.0, share), escape_markdown(label + f": {duration(left)} left" * (left > NOTICEABLE)))

    try:
        yield report
    except Exception:  # not if the script is superseded: the next one overwrites it
        placeholder.empty()
        raise
    placeholder.empty()


def _turn_off(toggle: str) -> None:
    st.session_state[toggle] = False


def prediction_progress(run: Run, epoch: int, predictions: Predictions) -> None:
    """A progress bar until all test images are predicted; redraws the page as `predictions` grow."""
    total = len(cache.test_set(run))
    num_draws = 0

    def draw() -> None:
        nonlocal num_draws
        if num_draws:  # the page is drawn first
            watch(run, epoch)
            _start(run, epoch)
        num_draws += 1
        done = len(cache.predictions(run, epoch))
        st.progress(done / total, f"Predicting the test images: {done:,} of {total:,}")
        if done == total or done > GROWTH * len(predictions) + 8:
            st.rerun()

    if len(predictions) < total:
        fragment(draw, every=1)


@cached(TTLCache(256, START_SECONDS), lock=threading.Lock())
def _start(run: Run, epoch: int) -> None:
    start_predicting(run, epoch)
