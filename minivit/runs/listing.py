"""The runs in a folder: all of them, one by its name, grouped by sweep, and the unreadable ones."""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache, cached

from minivit.config import TrainConfig
from minivit.errors import RunError
from minivit.runs.checkpoint import load_tensors
from minivit.runs.editing import unreadable_files
from minivit.runs.files import EXAMPLE, SWEEPS, default_runs_dir, delete_folder, file_version, is_locked
from minivit.runs.run import Run
from minivit.runs.summary import summarize

MAX_RUNS = 5_000  # that are kept open; their settings are cached anyway


def list_runs(runs_dir: str | Path | None = None) -> list[Run]:
    """The readable runs of a folder, newest first."""
    return list(iterate_runs(runs_dir))


def iterate_runs(runs_dir: str | Path | None = None) -> Iterator[Run]:
    """As `list_runs`, but each run is opened when it is reached."""
    for path in _folders(runs_dir):
        with suppress(RunError, OSError):
            yield _open(path, file_version(f"{path}/config.json"))


@cached(LRUCache(MAX_RUNS), lock=threading.Lock())
def _open(path: Path, version: tuple[int, ...]) -> Run:
    """The run in a folder, the same for all sessions until its settings change."""
    return Run.open(path)


def unused_seeds(config: TrainConfig, count: int) -> list[int]:
    """The smallest seeds that no run with otherwise the same settings has."""
    configs = (run.config for run in list_runs())
    same = [other for other in configs if other.model_copy(update={"seed": config.seed}) == config]
    used = {other.seed for other in same} | {config.seed}
    return list(itertools.islice((seed for seed in itertools.count() if seed not in used), count))


def runs_to_open() -> list[Run]:
    """The readable runs, newest first, and last the example run, which is in no list of the user's."""
    own = list_runs()
    return own if EXAMPLE.name in [run.id for run in own] else [*own, Run.open(EXAMPLE)]


def unreadable_runs() -> dict[str, str]:
    """The folders of runs whose settings cannot be read, newest first, with the reason."""
    reasons = {}
    for path in _folders(None):
        try:
            Run.open(path)
        except RunError as error:
            if any((path / name).exists() for name in ("config.json", "state.json", "checkpoints")):
                reasons[_printable_name(path)] = str(error)
    return reasons


def delete_unreadable(name: str) -> None:
    """Deletes one of `unreadable_runs`; RunError for any other folder, and while a worker holds it."""
    if name not in unreadable_runs():
        raise RunError(f"{name!r} is not an unreadable run. Choose another one.")
    path = next(path for path in _folders(None) if _printable_name(path) == name)
    if is_locked(path / "worker.lock"):
        raise RunError(f"A worker is training the run {name}. Stop it before you delete the run.")
    delete_folder(path)


def _printable_name(path: Path) -> str:
    return path.name.encode(errors="replace").decode()


def _folders(runs_dir: str | Path | None) -> list[Path]:
    """The folders in `runs_dir`, in reverse order of name; links are skipped, so all are inside."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and _may_be_run(entry.name)]
    except OSError:
        return []
    return [root / name for name in sorted(names, reverse=True)]


def _may_be_run(name: str) -> bool:
    """Whether a folder of this name may be a run: it is not hidden, and not that of the sweeps."""
    return name[0] != "." and name.lower() != SWEEPS


def find_run(run_id: str, runs_dir: str | Path | None = None) -> Run:
    """The run of that id directly inside the runs folder, or the example run; RunError if there is none."""
    root = Path(runs_dir) if runs_dir else default_runs_dir()
    try:
        path = (root / run_id).resolve()
        is_inside = path.parent == root.resolve() and path.name == run_id and _may_be_run(run_id) and path.is_dir()
    except (OSError, ValueError, RuntimeError):  # name too long, null character, cycle of links
        is_inside = False
    if not is_inside and run_id == EXAMPLE.name:
        return Run.open(EXAMPLE)
    if not is_inside:
        raise RunError(f"The run {run_id!r} is not in {root}. It may have been deleted; choose another run.")
    return Run.open(root / run_id)


def group_by_sweep(runs: Sequence[Run]) -> list[list[Run]]:
    """The trials of each sweep as one group, at the position of the first; every other run is its own group."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.sweep, "" if run.sweep else run.id), []).append(run)
    return list(groups.values())


def find_damage(run: Run, weights: bool = False) -> list[str]:
    """The unreadable parts of a run folder, one sentence each; with `weights` also those, which takes longer."""
    state = run.stored_state()
    summary = summarize(run)  # in this order, as a worker writes the row first
    lines = []
    if summary.num_invalid:
        lines.append(f"Invalid lines of metrics.jsonl, which are left out: {summary.num_invalid}.")
    last = max(state.epoch if state else 0, summary.last["epoch"] if summary.last else 0)
    if last and summary.num_rows <= last and not run.config.imported:
        lines.append(f"metrics.jsonl has rows of {summary.num_rows:,} of {last + 1:,} epochs.")
    names = ["state.json"] if state is None else []
    names += unreadable_files(run)
    if weights:
        paths = [run.path / "resume.safetensors", *map(run.checkpoint_path, run.checkpoints())]
        names += [path.relative_to(run.path).as_posix() for path in paths if not _is_readable(path)]
    return lines + [f"{name} cannot be read." for name in names]


def _is_readable(path: Path) -> bool:
    """Whether a weights file is complete or not there."""
    with suppress(RunError):
        return not os.path.lexists(path) or bool(load_tensors(path))
    return False
