"""Fixtures of the sweep tests."""

from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest

from minivit.config import TrainConfig


@pytest.fixture
def small(tiny: TrainConfig) -> TrainConfig:
    """Settings that train in a tenth of a second."""
    return tiny.changed(images_per_class=20, epochs=2)


@pytest.fixture
def processes() -> Iterator[list[BaseProcess]]:
    """A list for worker processes, which are killed after the test."""
    processes: list[BaseProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.join()
