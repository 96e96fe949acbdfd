"""The Optuna study of a sweep, in a journal that several machines may share or in a database.

Its waiting trials are the queue of all workers. All trials are enqueued once, when the study is
created, so that any number of workers on any number of machines train each of them once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minivit.engine import derive_seed
from minivit.errors import SweepError
from minivit.runs.summary import SELECTION_BIAS
from minivit.sweep.space import SweepConfig

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal://"  # before the path of a file
CONFIG = "sweep"  # an attribute of the study
MESSAGE, RUN, WORKER, RETRY = "message", "run", "worker", "retry_of"  # attributes of a trial
FIXED_PARAMS = "fixed_params"  # Optuna's attribute for the values of an enqueued trial
STARTUP_TRIALS = 4  # trials that end before any is pruned
NUM_SUGGESTIONS = 20  # of the sampler before an unused combination is chosen


TrialPhase = Literal["queued", "training", "done", "pruned", "failed"]
PHASES: dict[str, TrialPhase] = {
    "WAITING": "queued",
    "RUNNING": "training",
    "COMPLETE": "done",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
ORPHANED = "Its worker stopped unexpectedly. Retry continues from its last epoch."


@dataclass(frozen=True)
class TrialInfo:
    """One trial. `curve` is its test accuracy by epoch, from epoch 0."""

    number: int
    phase: TrialPhase
    params: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    run_id: str = ""
    is_local: bool = False  # whether its run folder is on this machine
    message: str = ""
    retried: bool = False

    @property
    def accuracy(self) -> float | None:
        """The test accuracy after the last complete epoch; None before the first."""
        epochs = [epoch for epoch in self.curve if epoch]
        return self.curve[max(epochs)] if epochs else None


def best_trial(trials: Sequence[TrialInfo]) -> TrialInfo | None:
    done = [trial for trial in trials if trial.phase == "done" and trial.accuracy is not None]
    return max(done, key=lambda trial: (trial.accuracy or 0, -trial.number), default=None)


def selection_note(trials: Sequence[TrialInfo]) -> str:
    """That the best of several measured trials is selected; empty if there is only one."""
    num_measured = sum(trial.accuracy is not None for trial in trials)
    return f"The best of {num_measured} trials is {SELECTION_BIAS}." if num_measured > 1 else ""


def format_params(params: Mapping[str, Any]) -> str:
    """Settings as a user would type them: `lr=0.0003 depth=2`."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={value}" for name, value in values.items())


def open_storage(url: str) -> "optuna.storages.BaseStorage":
    """The storage at `journal:///path/of/a/file` or at a database's URL, created if it is new.

    Several processes can share a journal on a network disk: Optuna only appends to it. Raises SweepError if the storage
    cannot be opened.
    """
    import optuna  # takes a second to import
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(url):
        if url.startswith(JOURNAL):
            path = Path(url.removeprefix(JOURNAL))
            if not path.is_absolute() or not path.parent.is_dir():
                raise SweepError(f"{url} is not a file in an existing folder. Write {JOURNAL}/FOLDER/FILE.")
            return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=options)


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Converts errors of the storage at `url` in the block to SweepError."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (ImportError, OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        raise SweepError(f"The study at {without_password(url)} cannot be reached: {reason}. Check its URL.") from None
    except (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError):  # as Optuna parses it
        where = without_password(url)
        raise SweepError(f"The study at {where} is damaged. Restore a backup of it, or start a new sweep.") from None


def without_password(url: str) -> str:
    """A URL for display."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", url)


def create_study(config: SweepConfig, name: str, storage: "optuna.storages.BaseStorage") -> None:
    """Creates the study with all its trials queued; a study is complete once it has its settings."""
    import optuna

    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        raise SweepError(
            f"There is already a study {name!r} in this storage. Choose another name, or omit what varies to join it."
        ) from None
    for params in config.queue():
        study.enqueue_trial(params)
    study.set_user_attr(CONFIG, config.model_dump(mode="json"))


def load_study(
    config: SweepConfig, name: str, storage: "optuna.storages.BaseStorage", trial_number: int
) -> "optuna.Study":
    """The study, with a sampler whose values depend only on the seed and the number of the trial."""
    import optuna

    seed = derive_seed(config.base.seed, trial_number) % 2**32
    make_sampler = optuna.samplers.TPESampler if config.sampler == "tpe" else optuna.samplers.RandomSampler
    median = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=1)
    pruner = median if config.pruning else optuna.pruners.NopPruner()
    return optuna.load_study(study_name=name, storage=storage, sampler=make_sampler(seed=seed), pruner=pruner)


def unused_params(config: SweepConfig, study: "optuna.Study", trial_number: int) -> dict[str, Any]:
    """Unused values for a trial, as suggested by the study's sampler.

    Empty if a setting has a range of floats: the sampler then never suggests the same values twice.
    """
    import optuna

    if config.num_combinations is None:
        return {}
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number != trial_number]
    used_params = [*(trial.params for trial in trials), *(trial.system_attrs.get(FIXED_PARAMS, {}) for trial in trials)]
    copy = optuna.create_study(sampler=study.sampler, direction="maximize")  # in memory, to draw suggestions
    copy.add_trials([trial for trial in trials if trial.state.is_finished()])
    for _ in range(NUM_SUGGESTIONS):
        suggestion = copy.ask()
        params = {vary.name: vary.suggest(suggestion) for vary in config.vary}
        if params not in used_params:
            return params
    unused = [params for params in config.combinations() if params not in used_params]
    return unused[derive_seed(config.base.seed, trial_number) % len(unused)] if unused else {}


def stored_config(name: str, storage: "optuna.storages.BaseStorage") -> dict[str, Any]:
    """The settings that the study was created with; SweepError if there is no such study."""
    import optuna

    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise SweepError(
            f"There is no study {name!r} in this storage. Choose an existing one, or specify what a new study varies."
        ) from None
    config = study.user_attrs.get(CONFIG)
    if config is None:
        raise SweepError(f"{name!r} is not a MiniViT sweep, or is still being created. Try again in a minute.")
    return config
