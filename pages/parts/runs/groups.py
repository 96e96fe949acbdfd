"""Summaries of the runs of a sweep in one row or card, and sparklines."""

import numpy as np

from minivit.figures import downsample
from minivit.runs import Run, State

SPARKLINE_POINTS = 200
PHASES = ("training", "loading", "queued", "failed", "paused", "stopped", "done")  # most urgent first


def best_run(runs: list[Run]) -> Run:
    """The run with the highest test accuracy at its last epoch; the newest if no run has one."""
    return max(runs, key=lambda run: (rows[-1]["test_acc"] if (rows := run.metrics()) else -1, run.id))


def most_urgent(runs: list[Run]) -> State:
    """The state to show for several runs: training, waiting and failed runs come before finished ones."""
    return min((run.state for run in runs), key=lambda state: PHASES.index(state.phase))


def accuracy_curve(run: Run) -> list[float]:
    """Test accuracy, epoch by epoch."""
    return [row["test_acc"] for row in run.metrics()]


def sparkline(values: list[float]) -> list[float]:
    """A curve downsampled for a sparkline; extremes are kept."""
    return downsample(np.arange(len(values), dtype=float), np.array(values, float), SPARKLINE_POINTS)[1].tolist()
