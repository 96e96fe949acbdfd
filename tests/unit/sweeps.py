"""Small sweeps, and their workers as child processes of a test."""

import subprocess
import sys
import time
from collections.abc import Callable

from minivit.config import TrainConfig
from minivit.processes import PROJECT
from minivit.sweep import Sweep, SweepConfig, Vary

DEADLINE = 150  # seconds; importing torch alone takes a minute on a busy machine


def sweep_of(base: TrainConfig, *vary: str, **settings: object) -> SweepConfig:
    return SweepConfig(base=base, vary=tuple(Vary.parse(text) for text in vary), **settings)


def start(processes: list[subprocess.Popen], sweep: Sweep, worker: int) -> subprocess.Popen:
    """A worker as a child of the test, which can wait for it and kill it."""
    command = [sys.executable, "-m", "minivit.sweep", str(sweep.path), str(worker)]
    processes.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL))
    return processes[-1]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)
