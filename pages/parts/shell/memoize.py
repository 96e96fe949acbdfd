"""A cache of computed values for all sessions, bounded by the bytes of all values together.

Streamlit bounds `st.cache_resource` by the number of entries alone, and an entry may be a number or a data set;
`st.cache_data` bounds bytes (`max_size`) for each function separately, and copies what it returns.
"""

import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
import streamlit as st
import torch
from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from minivit.data.image_set import MappedImages
from minivit.inference import interruptible

P = ParamSpec("P")
T = TypeVar("T")

MAX_BYTES = 2**30
WAIT_SECONDS = 0.5


def bounded_cache(max_bytes: int) -> LRUCache[Hashable, Any]:
    """A cache that evicts the least recently used values; the newest is always kept."""
    return LRUCache(max_bytes, getsizeof=lambda value: min(num_bytes(value), max_bytes))


def end_if_superseded() -> None:
    """Ends this script, by Streamlit's exception, if its page was closed or something else was selected there."""
    st.session_state.get("any")  # Streamlit looks for such a request at every access


class InterruptibleCondition(threading.Condition):
    """A condition of which a superseded script does not wait for long."""

    def wait(self, timeout: float | None = None) -> bool:
        end_if_superseded()
        return super().wait(timeout or WAIT_SECONDS)


CACHE = bounded_cache(MAX_BYTES)
CONDITION = InterruptibleCondition()


def memoize(spinner: str = "", *, key: Callable[..., Hashable] = hashkey) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A function that computes once for the same `key` of its arguments, by default all of them.

    Other sessions that need the same value wait for it. `spinner` is shown during the computation, which ends between
    two `minivit.inference.chunks` if the script is superseded.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        name = function.__module__, function.__qualname__

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            is_new = memoized.cache_key(*args, **kwargs) not in CACHE
            waiting = st.spinner(spinner) if spinner and is_new else nullcontext()
            with waiting, interruptible(end_if_superseded):
                return memoized(*args, **kwargs)

        # Inside the spinner: where that ends, Streamlit ends a superseded script, and the value would be lost
        memoized = cached(CACHE, lambda *args, **kwargs: (name, key(*args, **kwargs)), condition=CONDITION)(function)
        return call

    return decorate


def num_bytes(value: Any) -> int:
    """The memory that a value takes; tensors that share a storage count once, mapped files not at all."""
    storages: dict[int, int] = {}
    return _own_bytes(value, storages) + sum(storages.values())


def _own_bytes(value: Any, storages: dict[int, int]) -> int:
    """Bytes of a value without its tensors, whose storages are added to `storages` by their address."""
    if isinstance(value, torch.Tensor):
        storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return 0
    if isinstance(value, torch.nn.Module):
        return sum(_own_bytes(tensor, storages) for tensor in (*value.parameters(), *value.buffers()))
    if isinstance(value, MappedImages):
        return value.rows.nbytes
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(_own_bytes(item, storages) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(_own_bytes(item, storages) for item in value)
    if is_dataclass(value):
        return sum(_own_bytes(getattr(value, field.name), storages) for field in fields(value))
    return sys.getsizeof(value)
