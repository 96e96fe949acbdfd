"""The sweep folder: an Optuna study, who works on it, and what is known of its trials.

    sweep.json      the settings and where the study is, written once     control.json   what a person asked for
    study.journal   the study itself, unless a URL was given              problem.json   what a worker could not mend
    workers/        locks held by the living workers                      log.txt        what the workers printed

The study's waiting trials are its queue. They are put there once, when it is made, so that any number of workers on
any number of machines train each of them once.
"""

import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock, Timeout

from minivit.config import SCHEMA_VERSION
from minivit.engine import derive_seed
from minivit.errors import ConfigError, RunError, SweepError
from minivit.machine import num_slots, pick_device
from minivit.runs import Run, default_runs_dir
from minivit.runs.file_cache import read_json
from minivit.runs.files import is_locked, make_unique_folder, replace_file, tail
from minivit.runs.run import LOCK_SECONDS, STARTUP_SECONDS
from minivit.sweep.space import SweepConfig
from minivit.sweep.storage import JOURNAL, open_storage, storage_errors

if TYPE_CHECKING:
    import optuna

TrialPhase = Literal["waiting", "running", "done", "pruned", "failed"]
PHASES: dict[str, TrialPhase] = {
    "WAITING": "waiting", "RUNNING": "running", "COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed",
}  # fmt: skip
CONFIG, MESSAGE, RUN, WORKER, RETRY = "sweep", "message", "run", "worker", "retry_of"  # attributes in the study
STARTUP_TRIALS = 4  # trials that come to their end before any is pruned


@dataclass(frozen=True)
class TrialInfo:
    """What is known of one trial. `curve` is its test accuracy by epoch, from epoch 0."""

    number: int
    phase: TrialPhase
    params: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    run_id: str = ""
    is_local: bool = False  # whether its run folder belongs to this sweep folder
    message: str = ""
    retried: bool = False

    @property
    def accuracy(self) -> float | None:
        """The test accuracy after the last finished epoch; None before the first."""
        trained = [epoch for epoch in self.curve if epoch]
        return self.curve[max(trained)] if trained else None


class Sweep:
    """One sweep folder. Make one with `create`, come to a shared study with `join`, read one with `open`."""

    def __init__(self, path: Path, config: SweepConfig, storage_url: str, machine: str) -> None:
        self.path, self.config, self.storage_url, self.machine = path, config, storage_url, machine

    @classmethod
    def create(cls, config: SweepConfig, runs_dir: str | Path | None = None, name: str = "", storage: str = "") -> Self:
        """A new study of `config` with all its trials waiting, and its folder in `runs_dir`/sweeps.

        `storage` is the URL of a journal or database to share; else the study is a file in the folder. Raises
        SweepError where there is one of that name already.
        """
        sweep = cls._make_folder(config, runs_dir, name, storage)
        try:
            with sweep.storage_errors():
                sweep._fill()
        except SweepError:
            shutil.rmtree(sweep.path)
            raise
        return sweep

    @classmethod
    def join(cls, name: str, storage: str, runs_dir: str | Path | None = None, **here: Any) -> Self:
        """A folder on this machine for a study that exists at `storage`, as another machine made it.

        `here` replaces settings that are this machine's own: workers, and data_dir and device of the base.
        """
        import optuna

        with storage_errors(storage):
            try:
                study = optuna.load_study(study_name=name, storage=open_storage(storage))
            except KeyError:
                raise SweepError(f"There is no study {name!r} there. Name one, or what a new one varies.") from None
            stored = study.user_attrs.get(CONFIG)
        if stored is None:
            raise SweepError(f"{name!r} is not a sweep of MiniViT, or is still being made. Try again in a minute.")
        workers = {"workers": here.pop("workers", 0)}
        config = SweepConfig.model_validate({**stored, **workers, "base": {**stored["base"], **here}})
        return cls._make_folder(config, runs_dir, name, storage)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The sweep in folder `path`; SweepError where there is none or its settings cannot be read."""
        path = Path(path)
        stored = read_json(path / "sweep.json")
        if stored.pop("schema_version", None) != SCHEMA_VERSION:
            raise SweepError(f"There is no sweep in {path} that this MiniViT can read. Choose another one.")
        try:
            url, machine = str(stored.pop("storage")), str(stored.pop("machine"))
            return cls(path, SweepConfig.model_validate(stored), url, machine)
        except (ConfigError, KeyError) as error:
            raise SweepError(f"The settings of the sweep in {path} are not valid: {error}") from None

    @property
    def id(self) -> str:
        """The folder's name and the study's."""
        return self.path.name

    @property
    def runs_dir(self) -> Path:
        """Where the runs of its trials are."""
        return self.path.parents[1]

    @property
    def num_workers(self) -> int:
        """Processes that train side by side here."""
        return self.config.workers or num_slots(pick_device(self.config.base.device))

    # The study

    @cached_property
    def storage(self) -> "optuna.storages.BaseStorage":
        """Optuna's storage, opened once."""
        return open_storage(self.storage_url or f"{JOURNAL}{(self.path / 'study.journal').absolute()}")

    @contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Inside, a study that cannot be read or written raises SweepError."""
        with storage_errors(self.storage_url or str(self.path)):
            yield

    def study(self, trial: int = 0) -> "optuna.Study":
        """The study, with a sampler whose draws depend on the seed and the number of the trial alone."""
        import optuna

        seed = derive_seed(self.config.base.seed, trial) % 2**32
        by_tpe = self.config.sampler == "tpe"
        sampler = optuna.samplers.TPESampler(seed=seed) if by_tpe else optuna.samplers.RandomSampler(seed=seed)
        median = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=1)
        pruner = median if self.config.pruning else optuna.pruners.NopPruner()
        return optuna.load_study(study_name=self.id, storage=self.storage, sampler=sampler, pruner=pruner)

    def trials(self) -> list[TrialInfo]:
        """All trials in order. One whose worker is gone shows as failed, whatever the study says."""
        with self.storage_errors():
            found = self.study().get_trials(deepcopy=False)
        retried = {trial.user_attrs[RETRY] for trial in found if RETRY in trial.user_attrs}
        return [self._tried(trial, retried) for trial in found]

    def best(self) -> TrialInfo | None:
        """The trial of the highest accuracy at its end among those that came to it."""
        return best_trial(self.trials())

    def retry(self) -> int:
        """Puts failed trials into the queue again, each once, to go on where they were; returns how many."""
        with self.storage_errors(), self.queue_lock():
            self.fail_orphaned()
            again = [tried for tried in self.trials() if tried.phase == "failed" and not tried.retried]
            for tried in again:
                attributes = {RETRY: tried.number} | ({RUN: [self.machine, tried.run_id]} if tried.is_local else {})
                self.study().enqueue_trial(dict(tried.params), attributes)
        return len(again)

    # Who works on it

    @property
    def active(self) -> bool:
        """Whether a worker of this machine is at work, or about to be."""
        if any(is_locked(lock) for lock in sorted((self.path / "workers").glob("*.lock"))):
            return True
        started = read_json(self.path / "control.json")
        problem = read_json(self.path / "problem.json").get("time", 0)
        recent = time.time() - started.get("time", 0) < STARTUP_SECONDS and problem < started.get("time", 0)
        return started.get("command") == "start" and recent and any(one.phase == "waiting" for one in self.trials())

    def request(self, command: Literal["start", "stop"]) -> None:
        """Leaves a command for the workers of this machine; those that train stop where they are."""
        now = time.time()
        stopped = now if command == "stop" else self.last_stop
        replace_file(self.path / "control.json", {"command": command, "time": now, "stopped": stopped})
        for tried in self.trials() if command == "stop" else ():
            run = self.run_of(tried)
            if run and tried.phase == "running":
                run.request("stop")

    def requested_command(self) -> str:
        """The last command that was left."""
        return str(read_json(self.path / "control.json").get("command", ""))

    @property
    def last_stop(self) -> float:
        """When somebody last asked the workers to stop, in seconds since 1970."""
        return float(read_json(self.path / "control.json").get("stopped", 0))

    def run_of(self, tried: TrialInfo) -> Run | None:
        """The run of a trial, where it is on this machine."""
        try:
            return Run.open(self.runs_dir / tried.run_id) if tried.is_local else None
        except RunError:
            return None

    @property
    def problem(self) -> str:
        """What kept the last worker from going on, as a sentence; empty where nothing did."""
        return str(read_json(self.path / "problem.json").get("message", ""))

    def set_problem(self, message: str) -> None:
        """Replaces `problem.json`."""
        replace_file(self.path / "problem.json", {"message": message, "time": time.time()})

    def log(self, num_lines: int = 200) -> str:
        """The last lines that the workers printed."""
        return "\n".join(tail(self.path / "log.txt", num_lines))

    @contextmanager
    def hold(self, worker: int) -> Iterator[None]:
        """Holds the lock of the worker of that number inside; SweepError where another process has it."""
        lock = FileLock(self._lock(worker))
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise SweepError(f"Worker {worker} of the sweep {self.id} is at work already.") from None
        try:
            yield
        finally:
            lock.release()

    def is_worker_alive(self, worker: int) -> bool:
        """Whether the worker of that number is alive."""
        return is_locked(self._lock(worker))

    @contextmanager
    def queue_lock(self) -> Iterator[None]:
        """Inside, no other process of this machine takes trials or settles them."""
        with FileLock(self.path / "queue.lock"):
            yield

    def fail_orphaned(self, own: int | None = None) -> None:
        """Marks as failed what dead workers of this machine left running; inside `queue_lock`.

        `own` is the number of the worker that asks: what it finds under its number was its predecessor's.
        """
        import optuna

        study = self.study()
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            machine, worker = trial.user_attrs.get(WORKER, ("", 0))
            if machine == self.machine and (worker == own or not self.is_worker_alive(worker)):
                self.storage.set_trial_user_attr(self.trial_id(trial.number), MESSAGE, _DIED)
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def trial_id(self, number: int) -> int:
        """The storage's key of a trial."""
        study_id = self.storage.get_study_id_from_name(self.id)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _lock(self, worker: int) -> Path:
        return self.path / "workers" / f"{worker}.lock"

    def _tried(self, trial: "optuna.trial.FrozenTrial", retried: set[int]) -> TrialInfo:
        attributes = trial.user_attrs
        machine, run_id = attributes.get(RUN, ("", ""))
        phase, message = PHASES[trial.state.name], attributes.get(MESSAGE, "")
        works_at, worker = attributes.get(WORKER, ("", 0))
        if phase == "running" and works_at == self.machine and not self.is_worker_alive(worker):
            phase, message = "failed", _DIED
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        return TrialInfo(
            trial.number, phase, params, dict(trial.intermediate_values), run_id, machine == self.machine,
            message if phase != "waiting" else "", trial.number in retried,
        )  # fmt: skip

    def _fill(self) -> None:
        """Makes the study and puts all its trials into the queue; its settings come last and say that it is whole."""
        import optuna

        try:
            study = optuna.create_study(study_name=self.id, storage=self.storage, direction="maximize")
        except optuna.exceptions.DuplicatedStudyError:
            raise SweepError(
                f"There is a study {self.id!r} there already. Choose another name, or leave out what varies to join it."
            ) from None
        for params in self.config.queue():
            study.enqueue_trial(params)
        study.set_user_attr(CONFIG, self.config.model_dump(mode="json"))

    @classmethod
    def _make_folder(cls, config: SweepConfig, runs_dir: str | Path | None, name: str, storage: str) -> Self:
        if name and not re.fullmatch(r"\w[\w.-]{0,79}", name):
            raise SweepError(f"{name!r} cannot be the name of a sweep. Use letters, digits, '-', '_' and '.'.")
        root = sweeps_dir(runs_dir)
        try:
            root.mkdir(parents=True, exist_ok=True)
            if name:
                path = root / name
                path.mkdir()
            else:
                path = make_unique_folder(
                    root, f"{datetime.now():%Y%m%d-%H%M%S}-{'-'.join(one.name for one in config.vary)}"
                )
            (path / "workers").mkdir()
        except FileExistsError:
            raise SweepError(f"There is a sweep {name!r} in {root} already. Choose another name.") from None
        except OSError as error:
            raise SweepError(f"No sweep can be written in {root}: {error.strerror}. Choose another folder.") from None
        machine = uuid.uuid4().hex
        where = {"schema_version": SCHEMA_VERSION, "storage": storage, "machine": machine}
        replace_file(path / "sweep.json", where | config.model_dump(mode="json"))
        return cls(path, config, storage, machine)


_DIED = "Its worker ended without a word. Try it again to go on from its last epoch."


def best_trial(trials: list[TrialInfo]) -> TrialInfo | None:
    """The trial of the highest accuracy among those that came to their end."""
    done = [tried for tried in trials if tried.phase == "done" and tried.accuracy is not None]
    return max(done, key=lambda tried: (tried.accuracy or 0, -tried.number), default=None)


def sweeps_dir(runs_dir: str | Path | None = None) -> Path:
    """The folder of the sweeps in a runs folder."""
    return (Path(runs_dir) if runs_dir else default_runs_dir()) / "sweeps"


def list_sweeps(runs_dir: str | Path | None = None) -> list[Sweep]:
    """The readable sweeps, newest first."""
    found = []
    for path in sweeps_dir(runs_dir).glob("*/sweep.json"):
        try:
            found.append((path.stat().st_mtime, Sweep.open(path.parent)))
        except (SweepError, OSError):
            continue
    return [sweep for _, sweep in sorted(found, key=lambda one: -one[0])]


def find_sweep(name: str, runs_dir: str | Path | None = None) -> Sweep:
    """The sweep of that name, directly inside the sweeps folder and nowhere else; SweepError where there is none."""
    for sweep in list_sweeps(runs_dir):
        if sweep.id == name:
            return sweep
    raise SweepError(f"The sweep {name!r} is not in {sweeps_dir(runs_dir)}. Choose another one.")
