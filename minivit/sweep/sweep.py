"""A sweep: a hyperparameter search with an Optuna study, whose trials are trained as ordinary runs. Its folder has

sweep.json      the settings and the URL of the study, written once    control.json   the user's last command
study.journal   the study, unless a URL was given                      problem.json   the error that ended a worker
workers/        locks of the running workers                           log.txt        the workers' output
"""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock

from minivit.config import SCHEMA_VERSION
from minivit.errors import ConfigError, RunError, SweepError
from minivit.files import explain_os_error
from minivit.machine import num_slots, pick_device
from minivit.runs import Run, default_runs_dir
from minivit.runs.files import (
    SWEEPS,
    delete_on_error,
    explain_write_error,
    is_locked,
    make_unique_folder,
    read_json,
    replace_file,
    tail,
)
from minivit.runs.run import STARTUP_SECONDS
from minivit.runs.schema import with_earlier_settings
from minivit.sweep.space import SweepConfig
from minivit.sweep.study import (
    JOURNAL,
    MESSAGE,
    ORPHANED,
    PHASES,
    RETRY,
    RUN,
    WORKER,
    TrialInfo,
    create_study,
    load_study,
    open_storage,
    storage_errors,
    stored_config,
)

if TYPE_CHECKING:
    import optuna


class Sweep:
    """One sweep folder. `create` makes one with a new study, `join` one for a shared study, `open` reads one."""

    def __init__(self, path: Path, config: SweepConfig, storage_url: str, machine: str) -> None:
        self.path = path
        self.config = config
        self.storage_url = storage_url
        self.machine = machine

    @classmethod
    def create(cls, config: SweepConfig, runs_dir: str | Path | None = None, name: str = "", storage: str = "") -> Self:
        """A new study with all its trials queued, and its folder in `runs_dir`/sweeps.

        `storage` is the URL of a journal or database to share; if empty, the study is a file in the folder. Raises
        SweepError if there is a sweep of that name.
        """
        sweep = cls._create_folder(config, runs_dir, name, storage)
        with delete_on_error(sweep.path), sweep.storage_errors():
            create_study(config, sweep.id, sweep.storage)
        return sweep

    @classmethod
    def join(cls, name: str, storage: str, runs_dir: str | Path | None = None, **local: Any) -> Self:
        """A folder on this machine for a study at `storage` that another machine created.

        `local` replaces settings of this machine: workers, and data_dir and device of the base.
        """
        workers = {"workers": local.pop("workers", 0)}
        with storage_errors(storage):
            stored = stored_config(name, open_storage(storage))
            base = with_earlier_settings({**stored["base"], **local})
        config = SweepConfig.model_validate({**stored, **workers, "base": base})
        return cls._create_folder(config, runs_dir, name, storage)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The sweep in folder `path`; SweepError if there is none or its settings are invalid."""
        path = Path(path)
        stored = read_json(path / "sweep.json")
        if stored.pop("schema_version", None) != SCHEMA_VERSION:
            raise SweepError(f"There is no sweep in {path} that this MiniViT can read. Choose another one.")
        try:
            url = str(stored.pop("storage"))
            machine = str(stored.pop("machine"))
            base = with_earlier_settings(stored.pop("base"))
            return cls(path, SweepConfig.model_validate({**stored, "base": base}), url, machine)
        except (ConfigError, KeyError, TypeError) as error:
            raise SweepError(f"The settings of the sweep in {path} are invalid: {error}") from None

    @property
    def id(self) -> str:
        """The name of the folder and of the study."""
        return self.path.name

    @property
    def runs_dir(self) -> Path:
        """The folder of its trials' runs."""
        return self.path.parents[1]

    # The study

    @cached_property
    def storage(self) -> "optuna.storages.BaseStorage":
        """Optuna's storage, opened once."""
        return open_storage(self.storage_url or f"{JOURNAL}{(self.path / 'study.journal').absolute()}")

    @contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Converts errors of the study's storage in the block to SweepError."""
        with storage_errors(self.storage_url or str(self.path)):
            yield

    @contextmanager
    def queue_lock(self) -> Iterator[None]:
        """Keeps other processes of this machine from claiming trials or marking them as failed in the block.

        For a study in an SQLite file also those of the other machines that use the file: two processes could otherwise
        claim the same trial, as what Optuna locks in a database, SQLite does not.
        """
        from sqlalchemy.engine import make_url

        database = make_url(self.storage_url).database if self.storage_url.startswith("sqlite") else None
        with FileLock(self.path / "queue.lock"), FileLock(f"{database}.lock") if database else nullcontext():
            yield

    def study(self, trial_number: int = 0) -> "optuna.Study":
        """The study, to read it or to suggest the values of a trial."""
        return load_study(self.config, self.id, self.storage, trial_number)

    def trial_id(self, number: int) -> int:
        """The storage's key of a trial."""
        study_id = self.storage.get_study_id_from_name(self.id)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def trials(self) -> list[TrialInfo]:
        """All trials in order. One whose worker has died is reported as failed."""
        with self.storage_errors():
            trials = self.study().get_trials(deepcopy=False)
            retried = {trial.user_attrs[RETRY] for trial in trials if RETRY in trial.user_attrs}
            return [self._info(trial, retried) for trial in trials]

    def run_of(self, trial: TrialInfo) -> Run | None:
        """The run of a trial, if it is on this machine."""
        try:
            return Run.open(self.runs_dir / trial.run_id) if trial.is_local else None
        except RunError:
            return None

    def retry(self) -> int:
        """Enqueues each failed trial once more, to continue where it was; returns how many."""
        with self.storage_errors(), self.queue_lock():
            self.fail_orphaned()
            failed = [trial for trial in self.trials() if trial.phase == "failed" and not trial.retried]
            for trial in failed:
                run = {RUN: [self.machine, trial.run_id]} if trial.is_local else {}
                self.study().enqueue_trial(dict(trial.params), {RETRY: trial.number, **run})
        return len(failed)

    def fail_orphaned(self, own: int | None = None) -> None:
        """Marks running trials of this machine's dead workers as failed; call it inside `queue_lock`.

        `own` is the number of the calling worker: running trials under that number were its predecessor's.
        """
        import optuna

        study = self.study()
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            machine, worker = trial.user_attrs.get(WORKER, ("", 0))
            if machine == self.machine and (worker == own or not self.is_worker_alive(worker)):
                self.storage.set_trial_user_attr(self.trial_id(trial.number), MESSAGE, ORPHANED)
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _info(self, trial: "optuna.trial.FrozenTrial", retried: set[int]) -> TrialInfo:
        attributes = trial.user_attrs
        run_machine, run_id = attributes.get(RUN, ("", ""))
        worker_machine, worker = attributes.get(WORKER, ("", 0))
        phase, message = PHASES[trial.state.name], attributes.get(MESSAGE, "")
        if phase == "training" and worker_machine == self.machine and not self.is_worker_alive(worker):
            phase, message = "failed", ORPHANED
        return TrialInfo(
            number=trial.number,
            phase=phase,
            params=trial.params or trial.system_attrs.get("fixed_params", {}),
            curve=dict(trial.intermediate_values),
            run_id=run_id,
            is_local=run_machine == self.machine,
            message=message if phase != "queued" else "",
            retried=trial.number in retried,
        )

    # Workers

    @property
    def num_workers(self) -> int:
        """Processes that train in parallel on this machine."""
        return self.config.workers or num_slots(pick_device(self.config.base.device))

    @property
    def active(self) -> bool:
        """Whether a worker of this machine is running or about to start."""
        if any(is_locked(lock) for lock in sorted((self.path / "workers").glob("*.lock"))):
            return True
        started_at = self._time("control.json", "time") if self.requested_command() == "start" else 0
        failed_at = self._time("problem.json", "time")
        was_just_started = (
            failed_at < started_at and time.time() - started_at < STARTUP_SECONDS
        )  # and must lock its file first
        return was_just_started and any(trial.phase == "queued" for trial in self.trials())

    def request(self, command: Literal["start", "stop"]) -> None:
        """Requests a command from the workers of this machine; stop also ends the trials in progress."""
        now = time.time()
        stopped_at = now if command == "stop" else self.last_stop
        replace_file(self.path / "control.json", {"command": command, "time": now, "stopped": stopped_at})
        for trial in self.trials() if command == "stop" else ():
            run = self.run_of(trial)
            if run and trial.phase == "training":
                run.request("stop")

    def requested_command(self) -> str:
        return str(read_json(self.path / "control.json").get("command", ""))

    @property
    def last_stop(self) -> float:
        """When a stop was last requested, in seconds since 1970."""
        return self._time("control.json", "stopped")

    def _time(self, file_name: str, key: str) -> float:
        """Seconds since 1970 from a JSON file; 0 if there are none."""
        value = read_json(self.path / file_name).get(key)
        return value if isinstance(value, int | float) else 0

    @property
    def problem(self) -> str:
        """The error that ended the last worker, as a sentence; empty if there was none."""
        return str(read_json(self.path / "problem.json").get("message", ""))

    def set_problem(self, message: str) -> None:
        replace_file(self.path / "problem.json", {"message": message, "time": time.time()})

    def log(self, num_lines: int = 200) -> str:
        """The last lines of the workers' output."""
        return "\n".join(tail(self.path / "log.txt", num_lines))

    def worker_lock(self, worker: int) -> Path:
        """The file that a running worker locks."""
        return self.path / "workers" / f"{worker}.lock"

    def is_worker_alive(self, worker: int) -> bool:
        return is_locked(self.worker_lock(worker))

    @classmethod
    def _create_folder(cls, config: SweepConfig, runs_dir: str | Path | None, name: str, storage: str) -> Self:
        if name and not re.fullmatch(r"\w[\w.-]{0,79}", name):
            raise SweepError(f"{name!r} is not a valid name for a sweep. Use letters, digits, '-', '_' and '.'.")
        root = sweeps_dir(runs_dir)
        if name and (root / name).exists():
            raise SweepError(f"There is a sweep {name!r} in {root} already. Choose another name.")
        default_name = f"{datetime.now():%Y%m%d-%H%M%S}-{'-'.join(vary.name for vary in config.vary)}"
        with explain_os_error(SweepError, f"Cannot create a sweep in {root}", "Choose another folder."):
            path = make_unique_folder(root, name or default_name)
        machine = uuid.uuid4().hex
        facts = {"schema_version": SCHEMA_VERSION, "storage": storage, "machine": machine}
        with delete_on_error(path), explain_write_error(path):
            (path / "workers").mkdir()
            replace_file(path / "sweep.json", facts | config.model_dump(mode="json"))
        return cls(path, config, storage, machine)


def sweeps_dir(runs_dir: str | Path | None = None) -> Path:
    return (Path(runs_dir) if runs_dir else default_runs_dir()) / SWEEPS


def list_sweeps(runs_dir: str | Path | None = None) -> list[Sweep]:
    """The readable sweeps, newest first."""
    sweeps = []
    for path in sweeps_dir(runs_dir).glob("*/sweep.json"):
        try:
            sweeps.append((path.stat().st_mtime, Sweep.open(path.parent)))
        except (SweepError, OSError):
            continue
    return [sweep for _, sweep in sorted(sweeps, key=lambda pair: -pair[0])]


def find_sweep(name: str, runs_dir: str | Path | None = None) -> Sweep:
    """The sweep of that name directly inside the sweeps folder; SweepError if there is none."""
    for sweep in list_sweeps(runs_dir):
        if sweep.id == name:
            return sweep
    raise SweepError(f"The sweep {name!r} is not in {sweeps_dir(runs_dir)}. Choose another one.")
