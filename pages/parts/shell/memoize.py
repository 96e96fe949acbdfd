"""What pages computed, remembered for all sessions and bounded by its bytes all together.

Streamlit bounds `st.cache_resource` by the number of entries alone, and one entry may be a number or a data set;
`st.cache_data` knows bytes (`max_size`), for each function on its own, and copies what it gives.
"""

import inspect
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from functools import wraps
from itertools import compress
from typing import Any, ParamSpec, TypeVar

import numpy as np
import streamlit as st
import torch

from minivit.data.memmap import MappedImages

P = ParamSpec("P")
T = TypeVar("T")

MAX_BYTES = 2**30  # of everything that is remembered


class Memory:
    """Values by key; when all together pass `most_bytes`, those that nobody asked for the longest go.

    The newest stays, whatever its size.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """What the values take together."""
        with self._guard:
            return sum(size for _, size in self._values.values())

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made where it is not there; others who ask meanwhile wait for it."""
        with self._guard:
            making = None if key in self._values else self._making.setdefault(key, threading.Lock())
            if making is None:
                self._values.move_to_end(key)
                return self._values[key][0]
        with making:
            with self._guard:
                if key in self._values:
                    return self._values[key][0]
            value = make()
            self._keep(key, value)
            return value

    def clear(self) -> None:
        """Forgets everything."""
        with self._guard:
            self._values.clear()

    def _keep(self, key: Hashable, value: Any) -> None:
        size = num_bytes(value)
        with self._guard:
            self._making.pop(key, None)
            self._values[key] = value, size
            together = sum(each for _, each in self._values.values())
            while together > self.most_bytes and len(self._values) > 1:
                _, (_, freed) = self._values.popitem(last=False)
                together -= freed


MEMORY = Memory(MAX_BYTES)


def memoize(spinner: str = "") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A function that computes once for the same arguments; those whose names begin with "_" do not count.

    `spinner` is told while it computes.
    """

    def decorate(make: Callable[P, T]) -> Callable[P, T]:
        counted = [not name.startswith("_") for name in inspect.signature(make).parameters]

        @wraps(make)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            assert not kwargs, "arguments are told apart by their places"
            key = make.__module__, make.__qualname__, *compress(args, counted)

            def computed() -> T:
                with st.spinner(spinner) if spinner else nullcontext():
                    return make(*args, **kwargs)

            return MEMORY.get(key, computed)

        return asked

    return decorate


def num_bytes(value: Any) -> int:
    """What a value takes in memory; tensors that share their numbers count once, and files on disk not at all."""
    storages: dict[int, int] = {}
    return _own_bytes(value, storages) + sum(storages.values())


def _own_bytes(value: Any, storages: dict[int, int]) -> int:
    """Bytes of a value but for those of its tensors, which are gathered in `storages` by their place in memory."""
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
        return sum(_own_bytes(each, storages) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(_own_bytes(each, storages) for each in value)
    if is_dataclass(value):
        return sum(_own_bytes(getattr(value, field.name), storages) for field in fields(value))
    return sys.getsizeof(value)
