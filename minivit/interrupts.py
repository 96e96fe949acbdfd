"""Long computations that can be interrupted: they work in chunks, and between two of them their caller may end them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from minivit.data import Images

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """In this block `chunks` calls `check` before each chunk; what it raises ends the computation."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def chunks(images: Images, size: int) -> Iterator[Tensor]:
    """The rows of a tensor, at most `size` (at least 1) at a time."""
    for chunk in images.split(max(1, size)):
        _check.get()()
        yield chunk
