"""Long computations: an estimate before, progress during, and a button to cancel.

Streamlit ends a superseded script when it next writes to the page. So every report of progress is a point where a
click, or a closed page, ends the computation.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import streamlit as st

from minivit.machine import num_cores
from pages.parts.shell.wording import duration, escape_markdown

MULTIPLICATIONS_PER_SECOND = 2.5e10  # of one CPU core
NOTICEABLE = 5  # seconds; a shorter computation needs no estimate


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
    begun = time.perf_counter()

    def report(share: float) -> None:
        left = (time.perf_counter() - begun) * (1 - share) / share if share else 0
        bar.progress(min(1.0, share), escape_markdown(label + f": {duration(left)} left" * (left > NOTICEABLE)))

    try:
        yield report
    except Exception:  # not if the script is superseded: the next one overwrites it
        placeholder.empty()
        raise
    placeholder.empty()


def _turn_off(toggle: str) -> None:
    st.session_state[toggle] = False
