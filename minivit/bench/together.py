"""What several processes give on this machine: one training shared between two, and a sweep's workers side by side.

Throughput only; that the curves are the same is for the tests.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from tempfile import TemporaryDirectory

from minivit.bench.result import Figure
from minivit.config import TrainConfig, preset
from minivit.runs import Run, list_runs
from minivit.sweep import Sweep, SweepConfig, Vary, as_completed, start_workers

EPOCHS = 3  # of a shared training; the first warms up
TRIALS, TRIAL_EPOCHS = 4, 20  # of a sweep, so that starting a worker is a small part of it


def measure(dataset: str, data_dir: str, classes: tuple[str, ...], say: Callable[[str], None]) -> Iterator[Figure]:
    """Figures of several processes beside one, on the train part of a data set."""
    chosen = {"dataset": dataset, "data_dir": data_dir, "classes": classes, "device": "cpu", "compile": "off"}
    with TemporaryDirectory() as folder:
        yield from _shared(preset("strong").changed(**chosen, images_per_class=1000, epochs=EPOCHS), folder, say)
        yield from _side_by_side(preset("article").changed(**chosen, epochs=TRIAL_EPOCHS), folder, say)


def _shared(config: TrainConfig, folder: str, say: Callable[[str], None]) -> Iterator[Figure]:
    """Images a second of one training: one process on one core or on two, and two processes on a core each."""
    ways = {
        "one process, one thread": config.changed(threads=1),
        "one process, two threads": config.changed(threads=2),
        "two processes, one thread each": config.changed(threads=1, devices=2),
    }
    speeds = {}
    for name, one in ways.items():
        run = Run.create(one, folder)
        command = [sys.executable, "-m", "minivit.worker", str(run.path)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "MINIVIT_LOCKS": folder})
        speeds[name] = median(row["images_per_second"] for row in run.metrics()[2:])
        say(f"strong, {name}: {speeds[name]:,.0f} images/s")
        yield Figure(f"strong, {name}", speeds[name], "1/s", note=f"median of {EPOCHS - 1} epochs of 3,200 images")
    alone = speeds.pop("one process, one thread")
    for name, speed in speeds.items():
        yield Figure(f"{name} ÷ one thread", speed / alone, "×")


def _side_by_side(config: TrainConfig, folder: str, say: Callable[[str], None]) -> Iterator[Figure]:
    """Images a second of a sweep of `article` by one worker and by two, from its first run to its last metrics row."""
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
        say(f"a sweep of article, {workers} workers: {speeds[-1]:,.0f} images/s")
        yield Figure(f"a sweep by {workers} one-thread workers", speeds[-1], "1/s", note=f"{TRIALS} trials of article")
    yield Figure("two workers ÷ one", speeds[1] / speeds[0], "×", note="2 is all that two cores can give")
