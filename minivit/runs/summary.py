"""A run at a glance: its title, and its metrics, computed once per version of their file, for lists of many runs."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from cachetools import LRUCache, cached

from minivit.data.image_set import evenly_spaced
from minivit.runs import schema
from minivit.runs.files import file_version, read_rows
from minivit.runs.run import Run
from minivit.runs.schema import State


def run_title(run: Run) -> str:
    """A run's name, or its classes if it has none, and when it was created."""
    if run.is_example:
        return "Example run"
    name = run.name or " · ".join(run.config.classes[:4]) + (" …" if len(run.config.classes) > 4 else "")
    return f"{name}, {creation_time(run.id)}"


@lru_cache(10_000)
def creation_time(folder_name: str) -> str:
    """The date in a folder's name; the name itself if the user chose it."""
    try:
        return f"{datetime.strptime(folder_name[:15], '%Y%m%d-%H%M%S'):%d %b %H:%M:%S}"
    except ValueError:
        return folder_name


NUM_POINTS = 200  # of a sparkline
PHASES = ("training", "loading", "queued", "failed", "paused", "stopped", "done")  # most urgent first
MAX_SUMMARIES = 5_000  # about 20 MB


class Summary(NamedTuple):
    """The last row of the metrics (None before epoch 0), the best test accuracy, and the curve of it, downsampled."""

    last: dict[str, Any] | None = None
    best_acc: float | None = None
    accuracies: tuple[float, ...] = ()
    num_invalid: int = 0  # lines that cannot be read
    num_rows: int = 0

    @property
    def test_acc(self) -> float | None:
        """Test accuracy after the last epoch."""
        return self.last["test_acc"] if self.last else None


def summarize(run: Run) -> Summary:
    """The summary of a run's `metrics.jsonl` as it is now."""
    try:
        return _summary(run, file_version(str(run.path / "metrics.jsonl")))
    except OSError:
        return Summary()


SELECTION_BIAS = "selected on the test images, so its accuracy is slightly optimistic"  # the best of several results


def best_epoch(run: Run, rows: Sequence[Mapping[str, Any]] | None = None) -> int | None:
    """The saved epoch with the highest test accuracy, the earliest of equals; None before any was measured.

    `rows` are the run's metrics if they have been read already.
    """
    saved = set(run.epochs())
    rows = [row for row in (run.metrics() if rows is None else rows) if row["epoch"] in saved]
    return max(rows, key=lambda row: row["test_acc"])["epoch"] if rows else None


def baselines(run: Run) -> dict[str, float]:
    """Test accuracies without a model: chance, and always predicting the most frequent class if that is higher."""
    environment = run.environment
    chance = 1 / max(1, len(run.config.classes))
    majority = min(1.0, environment.get("num_majority", 0) / max(1, environment.get("num_test", 0)))
    return {"chance": chance} | ({"most frequent class": majority} if majority > 1.001 * chance else {})


def best_run(runs: list[Run]) -> Run:
    """The run with the highest test accuracy at its last epoch; the newest if no run has one."""
    return max(runs, key=lambda run: (summarize(run).test_acc or -1, run.id)) if len(runs) > 1 else runs[0]


def most_urgent(runs: list[Run]) -> State:
    """The state to show for several runs: training, waiting and failed runs come before finished ones."""
    return min((run.state for run in runs), key=lambda state: PHASES.index(state.phase))


def share_done(run: Run, state: State, rows: list[dict]) -> float:
    """The fraction of the run that is done, 0..1: of its epochs, or of its minutes."""
    if not run.config.minutes:
        return min(1.0, (state.epoch + state.progress) / run.config.epochs)
    seconds = [row["train_seconds"] + row["eval_seconds"] for row in rows if row["train_seconds"]]
    current = state.progress * seconds[-1] if seconds else 0.0
    return 1.0 if state.phase == "done" else min(1.0, (sum(seconds) + current) / (60 * run.config.minutes))


@cached(LRUCache(MAX_SUMMARIES), key=lambda run, version: (str(run.path), version), lock=threading.Lock())
def _summary(run: Run, version: tuple[int, ...]) -> Summary:
    rows = run.metrics()
    _, num_invalid = read_rows(run.path / "metrics.jsonl", schema.parse_row)
    if not rows:
        return Summary(num_invalid=num_invalid)
    accuracies = [row["test_acc"] for row in rows]
    points = tuple(accuracies[index] for index in evenly_spaced(len(rows), NUM_POINTS))
    return Summary(rows[-1], max(accuracies), points, num_invalid, len(rows))
