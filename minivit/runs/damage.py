"""What of a run folder cannot be read."""

from minivit.runs.run import Run
from minivit.runs.summary import summarize


def find_damage(run: Run) -> list[str]:
    """What of the folder is left out because it cannot be read, a sentence each."""
    num_invalid = summarize(run).num_invalid
    lines = [f"Invalid lines of metrics.jsonl, which are left out: {num_invalid}."] if num_invalid else []
    lines += ["state.json cannot be read."] if run.stored_state() is None else []
    is_there = (run.path / "environment.json").exists()
    return lines + (["environment.json cannot be read."] if is_there and not run.environment else [])
