"""The files and locks of a sweep folder.

sweep.json      the settings and the URL of the study, written once    control.json   the user's last command
study.journal   the study, unless a URL was given                      problem.json   the error that ended a worker
workers/        locks of the running workers                           log.txt        the workers' output
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from minivit.errors import SweepError
from minivit.runs import default_runs_dir
from minivit.runs.files import hold_lock, is_locked, make_unique_folder, read_json, replace_file, tail


class SweepFolder:
    """Commands to the workers of this machine, and their reports."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The name of the folder and of the study."""
        return self.path.name

    @property
    def runs_dir(self) -> Path:
        """The folder of its trials' runs."""
        return self.path.parents[1]

    # Commands and problems

    def request(self, command: Literal["start", "stop"]) -> None:
        """Requests a command from the workers of this machine."""
        now = time.time()
        stopped = now if command == "stop" else self.last_stop
        replace_file(self.path / "control.json", {"command": command, "time": now, "stopped": stopped})

    def requested_command(self) -> str:
        return str(read_json(self.path / "control.json").get("command", ""))

    @property
    def last_stop(self) -> float:
        """When a stop was last requested, in seconds since 1970."""
        return float(read_json(self.path / "control.json").get("stopped", 0))

    @property
    def problem(self) -> str:
        """The error that ended the last worker, as a sentence; empty if there was none."""
        return str(read_json(self.path / "problem.json").get("message", ""))

    def set_problem(self, message: str) -> None:
        replace_file(self.path / "problem.json", {"message": message, "time": time.time()})

    def log(self, num_lines: int = 200) -> str:
        """The last lines of the workers' output."""
        return "\n".join(tail(self.path / "log.txt", num_lines))

    # Workers

    @contextmanager
    def hold(self, worker: int) -> Iterator[None]:
        """Holds the lock of a worker; SweepError if another process holds it."""
        refusal = SweepError(f"Worker {worker} of the sweep {self.id} is already running.")
        with hold_lock(self._worker_lock(worker), refusal):
            yield

    def is_worker_alive(self, worker: int) -> bool:
        return is_locked(self._worker_lock(worker))

    def _worker_lock(self, worker: int) -> Path:
        return self.path / "workers" / f"{worker}.lock"


def sweeps_dir(runs_dir: str | Path | None = None) -> Path:
    return (Path(runs_dir) if runs_dir else default_runs_dir()) / "sweeps"


def make_sweep_folder(runs_dir: str | Path | None, name: str, default_name: str) -> Path:
    """A new folder in `runs_dir`/sweeps, called `name` unless it is empty; SweepError if it cannot be created."""
    if name and not re.fullmatch(r"\w[\w.-]{0,79}", name):
        raise SweepError(f"{name!r} is not a valid name for a sweep. Use letters, digits, '-', '_' and '.'.")
    root = sweeps_dir(runs_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name:
            path = root / name
            path.mkdir()
        else:
            path = make_unique_folder(root, f"{datetime.now():%Y%m%d-%H%M%S}-{default_name}")
        (path / "workers").mkdir()
    except FileExistsError:
        raise SweepError(f"There is a sweep {name!r} in {root} already. Choose another name.") from None
    except OSError as error:
        raise SweepError(f"Cannot create a sweep in {root}: {error.strerror}. Choose another folder.") from None
    return path
