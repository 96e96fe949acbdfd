"""The Optuna study of a sweep. Its waiting trials are the queue that all workers take trials from.

All trials are enqueued once, when the study is created, so that any number of workers on any number of machines train
each of them once.
"""

from typing import TYPE_CHECKING, Any

from minivit.engine import derive_seed
from minivit.errors import SweepError
from minivit.sweep.space import SweepConfig

if TYPE_CHECKING:
    import optuna

CONFIG = "sweep"  # an attribute of the study
MESSAGE, RUN, WORKER, RETRY = "message", "run", "worker", "retry_of"  # attributes of a trial
STARTUP_TRIALS = 4  # trials that end before any is pruned


def create_study(config: SweepConfig, name: str, storage: "optuna.storages.BaseStorage") -> None:
    """Creates the study with all its trials waiting. A study that has its settings, written last, is complete."""
    import optuna

    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        raise SweepError(
            f"There is a study {name!r} there already. Choose another name, or leave out what varies to join it."
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


def read_config(name: str, storage: "optuna.storages.BaseStorage") -> dict[str, Any]:
    """The settings that the study was created with; SweepError if there is no such study."""
    import optuna

    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise SweepError(f"There is no study {name!r} there. Name one, or what a new one varies.") from None
    config = study.user_attrs.get(CONFIG)
    if config is None:
        raise SweepError(f"{name!r} is not a sweep of MiniViT, or is still being created. Try again in a minute.")
    return config
