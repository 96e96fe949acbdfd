"""Small sweeps, and their workers as child processes of a test."""

import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from minivit.config import TrainConfig
from minivit.sweep import Sweep, SweepConfig, Vary
from minivit.sweep.workers import main
from tests.forks import fork

DEADLINE = 150  # seconds; a busy machine takes its time


def sweep_of(base: TrainConfig, *vary: str, **settings: object) -> SweepConfig:
    return SweepConfig(base=base, vary=tuple(Vary.parse(text) for text in vary), **settings)


def start(processes: list[BaseProcess], sweep: Sweep, worker: int) -> BaseProcess:
    """A worker as a child of the test, which can wait for it and kill it."""
    processes.append(fork(main, str(sweep.path), worker))
    return processes[-1]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)
