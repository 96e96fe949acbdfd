"""Throughput of several processes: one training in two processes, and parallel workers of a sweep."""

import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from minivit.bench.result import Figure, Log
from minivit.config import TrainConfig, preset
from minivit.runs import Run, list_runs
from minivit.sweep import Sweep, SweepConfig, Vary, as_completed, start_workers

EPOCHS = 3  # of a shared training; the first warms up
TRIALS, TRIAL_EPOCHS = 4, 20  # of a sweep, so that starting a worker is a small part of it


def measure(dataset: str, data_dir: str, classes: tuple[str, ...], log: Log) -> Iterator[Figure]:
    """Figures of several processes against one, on one data set."""
    changes: dict[str, Any] = {
        "dataset": dataset,
        "data_dir": data_dir,
        "classes": classes,
        "device": "cpu",
        "compile": "off",
    }
    with TemporaryDirectory() as folder:
        yield from _one_training(preset("strong").changed(**changes, images_per_class=1000, epochs=EPOCHS), folder, log)
        yield from _parallel_workers(preset("article").changed(**changes, epochs=TRIAL_EPOCHS), folder, log)


def _one_training(config: TrainConfig, folder: str, log: Log) -> Iterator[Figure]:
    """Images per second of one training: one process on one core or on two, and two processes on a core each."""
    variants = {
        "one process, one thread": config.changed(threads=1),
        "one process, two threads": config.changed(threads=2),
        "two processes, one thread each": config.changed(threads=1, devices=2),
    }
    speeds = {}
    for name, variant in variants.items():
        run = Run.create(variant, folder)
        command = [sys.executable, "-m", "minivit.worker", str(run.path)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "MINIVIT_LOCKS": folder})
        speeds[name] = median(row["images_per_second"] for row in run.metrics()[2:])
        log(f"strong, {name}: {speeds[name]:,.0f} images/s")
        yield Figure(f"strong, {name}", speeds[name], "1/s", note=f"median of {EPOCHS - 1} epochs of 3,200 images")
    single_speed = speeds.pop("one process, one thread")
    for name, speed in speeds.items():
        yield Figure(f"{name} ÷ one thread", speed / single_speed, "×")


def _parallel_workers(config: TrainConfig, folder: str, log: Log) -> Iterator[Figure]:
    """Images per second of a sweep of `article` by one worker and by two, first run to last metrics row."""
    speeds = []
    for workers in (1, 2):
        runs_dir = f"{folder}/{workers}"
        vary = Vary(name="seed", values=tuple(range(TRIALS)))
        sweep = Sweep.create(
            SweepConfig(base=config, vary=(vary,), sampler="grid", pruning=False, workers=workers), runs_dir
        )
        start_workers(sweep)
        list(as_completed(sweep))
        runs = list_runs(runs_dir)
        begun = min((run.path / "config.json").stat().st_mtime for run in runs)
        seconds = max((run.path / "metrics.jsonl").stat().st_mtime for run in runs) - begun
        num_images = sum(run.environment["num_train"] * TRIAL_EPOCHS for run in runs)
        speeds.append(num_images / seconds)
        log(f"a sweep of article, {workers} workers: {speeds[-1]:,.0f} images/s")
        yield Figure(f"a sweep by {workers} one-thread workers", speeds[-1], "1/s", note=f"{TRIALS} trials of article")
    yield Figure("two workers ÷ one", speeds[1] / speeds[0], "×", note="2 is the limit on two cores")
