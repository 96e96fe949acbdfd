"""The runs in a folder: all of them, one by its name, and grouped by sweep."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from minivit.errors import RunError
from minivit.runs.run import Run, default_runs_dir


def list_runs(runs_dir: str | Path | None = None) -> list[Run]:
    """The readable runs of a folder, newest first."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        with os.scandir(root) as entries:  # symbolic links are skipped, so that every run lies inside
            names = sorted((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), reverse=True)
    except OSError:
        return []
    runs = []
    for name in names:
        with suppress(RunError):
            runs.append(Run.open(root / name))
    return runs


def find_run(run_id: str, runs_dir: str | Path | None = None) -> Run:
    """The run of that id directly inside the runs folder; RunError if there is none."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        path = (root / run_id).resolve()
        is_inside = path.parent == root.resolve() and path.name == run_id and path.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long a name, a null character, a cycle of links
        is_inside = False
    if not is_inside:
        raise RunError(f"The run {run_id!r} is not in {root}. It may have been deleted; choose another run.")
    return Run.open(root / run_id)


def group_by_sweep(runs: Sequence[Run]) -> list[list[Run]]:
    """The trials of each sweep as one group, in the place of its first; every other run is a group of one."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.sweep, "" if run.sweep else run.id), []).append(run)
    return list(groups.values())
