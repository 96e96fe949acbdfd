"""The workers of a sweep, which claim and train one waiting trial after another."""

import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from minivit import data
from minivit.errors import MiniViTError
from minivit.machine import pick_device
from minivit.sweep.study import WORKER
from minivit.sweep.sweep import Sweep
from minivit.sweep.trial_run import run_trial
from minivit.sweep.trials import TrialInfo
from minivit.worker import start_detached

if TYPE_CHECKING:
    import optuna


def start_workers(sweep: Sweep) -> None:
    """Starts the sweep's workers that are not running, as processes that outlive the one that starts them."""
    sweep.request("start")
    for worker in range(sweep.num_workers):
        if not sweep.is_worker_alive(worker):
            start_detached("minivit.sweep", str(sweep.path.resolve()), str(worker), log=sweep.path / "log.txt")


def as_completed(sweep: Sweep, poll_seconds: float = 0.5) -> Iterator[TrialInfo]:
    """Trials as they end, from now on until no worker of this machine is running."""

    def ended() -> dict[int, TrialInfo]:
        return {trial.number: trial for trial in sweep.trials() if trial.phase not in ("waiting", "running")}

    seen = set(ended())
    active = True
    while active:
        active = sweep.active  # before the trials, so that none is missed
        for number, trial in ended().items():
            if number not in seen:
                seen.add(number)
                yield trial
        time.sleep(poll_seconds * active)


def main(sweep_dir: str, worker: int) -> int:
    """Trains trials until none waits or the sweep is stopped; returns 0, 2 after a user error, 1 after any other."""
    try:
        sweep = Sweep.open(sweep_dir)
    except MiniViTError as error:
        print(error)
        return 2
    try:
        with sweep.hold(worker), sweep.storage_errors():
            run_trials(sweep, worker)
    except MiniViTError as error:
        sweep.set_problem(str(error))
        print(error)
        return 2
    except Exception as error:
        sweep.set_problem(f"{type(error).__name__}: {error}. The log has the details.")
        traceback.print_exc()
        return 1
    return 0


def run_trials(sweep: Sweep, worker: int) -> None:
    """Trains waiting trials until there is none or the sweep is stopped."""
    with sweep.queue_lock():
        sweep.fail_orphaned(own=worker)
    while sweep.requested_command() != "stop":
        pick_device(sweep.config.base.device)
        data.check(sweep.config.base)  # otherwise all trials would be pruned for the same reason
        trial = claim(sweep, worker)
        if trial is None:
            return
        run_trial(sweep, trial)


def claim(sweep: Sweep, worker: int) -> "optuna.Trial | None":
    """The next waiting trial, which from now on belongs to this worker; None if no trial waits."""
    import optuna

    waiting = (optuna.trial.TrialState.WAITING,)
    with sweep.queue_lock():
        for frozen in sweep.study().get_trials(deepcopy=False, states=waiting):
            trial_id = sweep.trial_id(frozen.number)
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another machine has just trained it
                # Written before the trial runs, so that every running trial has a worker, and again once it is ours.
                sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                if sweep.storage.set_trial_state_values(trial_id, optuna.trial.TrialState.RUNNING):
                    sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                    study = sweep.study(frozen.number)
                    study.get_trials(deepcopy=False)  # fills Optuna's cache of a database, which else knows no trial
                    return optuna.trial.Trial(study, trial_id)
    return None
