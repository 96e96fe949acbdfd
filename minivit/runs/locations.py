"""Where runs are: the folder of the user's own ones, and the example that ships with MiniViT."""

import os
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "tour" / "example"  # a run that nothing changes


def default_runs_dir() -> Path:
    """`MINIVIT_RUNS` from the environment, or `runs/` next to the package."""
    folder = os.environ.get("MINIVIT_RUNS")
    return Path(os.path.expanduser(folder)) if folder else Path(__file__).parents[2] / "runs"  # noqa: PTH111, never raises
