"""How long a training will take here: timed in a thread of its own, so that no page waits for it."""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

import streamlit as st

from minivit.config import TrainConfig
from minivit.engine import estimate_seconds
from pages.parts.shell.frame import fragment
from pages.parts.shell.wording import duration

WAIT_SECONDS = 0.3  # small models are timed sooner
TIMINGS_REMEMBERED = 64

Asked = tuple[TrainConfig, int, int]
_timings: OrderedDict[Asked, Future[float]] = OrderedDict()
_guard = Lock()
_one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="time_here")


def size_and_time(size: str, config: TrainConfig, num_train: int, num_test: int, share: float = 1) -> None:
    """Says `size`, which is Markdown, and how long `share` times a training of `config` takes on this machine.

    What takes longer to time is told once it is known. Raises a MiniViTError for settings that this machine cannot
    train.
    """
    asked = config, num_train, num_test
    timing = _timing(asked)
    if not wait([timing], WAIT_SECONDS).done:
        fragment(lambda: _timed_later(size, timing), every=1)
        return
    if timing.exception():
        with _guard:
            _timings.pop(asked, None)  # memory may be free the next time
    st.markdown(f"{size} about **{duration(share * timing.result())}** here")


def _timing(asked: Asked) -> Future[float]:
    with _guard:
        if asked not in _timings:
            _timings[asked] = _one_at_a_time.submit(estimate_seconds, *asked)
        _timings.move_to_end(asked)
        while len(_timings) > TIMINGS_REMEMBERED:
            _timings.popitem(last=False)
        return _timings[asked]


def _timed_later(size: str, timing: Future[float]) -> None:
    if timing.done():
        st.rerun()
    st.markdown(f"{size} timing a few steps …")
