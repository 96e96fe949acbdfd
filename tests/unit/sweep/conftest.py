"""Fixtures of the sweep tests."""

import subprocess
from collections.abc import Iterator

import pytest

from minivit.config import TrainConfig


@pytest.fixture
def small(tiny: TrainConfig) -> TrainConfig:
    """Settings that train in a tenth of a second."""
    return tiny.changed(images_per_class=20, epochs=2)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen]]:
    """A list for worker processes, which are killed after the test."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
