"""Summaries of the runs of a sweep in one row or card."""

from minivit.runs import Run, State, summarize

PHASES = ("training", "loading", "queued", "failed", "paused", "stopped", "done")  # most urgent first


def best_run(runs: list[Run]) -> Run:
    """The run with the highest test accuracy at its last epoch; the newest if no run has one."""
    return max(runs, key=lambda run: (summarize(run).test_acc or -1, run.id))


def most_urgent(runs: list[Run]) -> State:
    """The state to show for several runs: training, waiting and failed runs come before finished ones."""
    return min((run.state for run in runs), key=lambda state: PHASES.index(state.phase))
