"""The workers of a sweep, which claim one waiting trial after another and train it as an ordinary run."""

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from minivit import data
from minivit.engine import Events, Interrupted, train
from minivit.errors import ConfigError, DataError, MiniViTError, RunError, SweepError, TrainingError
from minivit.machine import pick_device, share_cores
from minivit.processes import start_detached
from minivit.runs import Run
from minivit.runs.files import append_line, hold_lock
from minivit.sweep.study import FIXED_PARAMS, MESSAGE, RUN, WORKER, TrialInfo, format_params, unused_params
from minivit.sweep.sweep import Sweep

if TYPE_CHECKING:
    import optuna


def start_workers(sweep: Sweep) -> None:
    """Starts the sweep's workers that are not running, as processes that outlive this one."""
    sweep.request("start")
    for worker in range(sweep.num_workers):
        if not sweep.is_worker_alive(worker):
            start_detached("minivit.sweep", str(sweep.path.resolve()), str(worker), log=sweep.path / "log.txt")


def as_completed(sweep: Sweep, poll_seconds: float = 0.5) -> Iterator[TrialInfo]:
    """Yields trials as they end, until no worker of this machine is running."""

    def ended() -> dict[int, TrialInfo]:
        return {trial.number: trial for trial in sweep.trials() if trial.phase not in ("queued", "training")}

    numbers = set(ended())
    active = True
    while active:
        active = sweep.active  # before the trials, so that none is missed
        for number, trial in ended().items():
            if number not in numbers:
                numbers.add(number)
                yield trial
        time.sleep(poll_seconds * active)


def main(sweep_dir: str, worker: int) -> int:
    """Trains trials until none waits or the sweep is stopped; returns 0, 2 after a user error, 1 after other errors."""
    try:
        sweep = Sweep.open(sweep_dir)
    except MiniViTError as error:
        print(error)
        return 2
    try:
        refusal = SweepError(f"Worker {worker} of the sweep {sweep.id} is already running.")
        with hold_lock(sweep.worker_lock(worker), refusal), sweep.storage_errors():
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
    """Claims the next waiting trial for this worker; None if no trial waits."""
    import optuna

    waiting = (optuna.trial.TrialState.WAITING,)
    with sweep.queue_lock():
        for frozen in sweep.study().get_trials(deepcopy=False, states=waiting):
            trial_id = sweep.trial_id(frozen.number)
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another machine has just finished it
                # Written before the trial is running, so that every running trial has a worker, and again once claimed.
                sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                if sweep.storage.set_trial_state_values(trial_id, optuna.trial.TrialState.RUNNING):
                    sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                    study = sweep.study(frozen.number)
                    study.get_trials(deepcopy=False)  # fills Optuna's cache of a database
                    if not frozen.system_attrs.get(FIXED_PARAMS) and not frozen.params:
                        params = unused_params(sweep.config, study, frozen.number)
                        sweep.storage.set_trial_system_attr(trial_id, FIXED_PARAMS, params)
                    return optuna.trial.Trial(study, trial_id)
    return None


def run_trial(sweep: Sweep, trial: "optuna.Trial") -> None:
    """Trains one trial and writes its outcome to the study.

    A trial with invalid settings, such as heads that do not divide the embedding dimension, is pruned with the reason.
    Raises errors that affect all trials, such as a full disk; the trial then waits to be continued.
    """
    import optuna

    states = optuna.trial.TrialState
    started = time.time()
    state, message, accuracy = states.WAITING, "", None
    try:
        run = _open_or_create_run(sweep, trial)
        print(f"trial {trial.number}: {format_params(trial.params)} in {run.id}", flush=True)
        pruned_at = _train(sweep, trial, run)
        if run.state.phase == "done":
            state, accuracy = states.COMPLETE, run.metrics()[-1]["test_acc"]
        elif pruned_at is not None:
            state, message = states.PRUNED, f"Below the median of earlier trials at epoch {pruned_at}."
        elif sweep.last_stop < started:
            state, message = states.PRUNED, "Its run was stopped."
    except (ConfigError, DataError, TrainingError) as error:
        state, message = states.PRUNED, str(error)
    except MiniViTError:
        raise
    except Exception as error:
        state, message = states.FAIL, f"{type(error).__name__}: {error}. The log has the details."
        raise
    finally:
        if message:
            print(f"trial {trial.number}: {message}", flush=True)
            trial.set_user_attr(MESSAGE, message)
        if state == states.WAITING:
            sweep.storage.set_trial_state_values(sweep.trial_id(trial.number), state)
        else:
            trial.study.tell(trial, accuracy, state=state)


def _open_or_create_run(sweep: Sweep, trial: "optuna.Trial") -> Run:
    """The run of a trial: its earlier one if that is on this machine, else a new one."""
    params = {vary.name: vary.suggest(trial) for vary in sweep.config.vary}
    machine, run_id = trial.user_attrs.get(RUN, ("", ""))
    with suppress(RunError):  # it may have been deleted
        if machine == sweep.machine:
            run = Run.open(sweep.runs_dir / run_id)
            run.request("resume")
            run.set_state("queued", run.state.epoch, "Its sweep continues.")
            return run
    config = sweep.config.base.changed(**params)
    run = Run.create(share_cores(config, sweep.num_workers), sweep.runs_dir, sweep.id)
    trial.set_user_attr(RUN, [sweep.machine, run.id])
    return run


def _train(sweep: Sweep, trial: "optuna.Trial", run: Run) -> int | None:
    """Trains the run and reports its test accuracy after each epoch; returns the epoch at which it was pruned."""
    pruned_at = None
    known_epochs = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(row: Mapping[str, Any]) -> None:
        if row["epoch"] not in known_epochs:
            trial.report(row["test_acc"], row["epoch"])

    def report_or_prune(row: Mapping[str, Any]) -> None:
        nonlocal pruned_at
        report(row)
        is_late = run.config.epochs / 3 <= row["epoch"] < run.config.epochs
        if is_late and not run.config.minutes and trial.should_prune():
            pruned_at = row["epoch"]
            raise Interrupted("stop")

    for row in run.metrics():  # an earlier worker may have been killed before it reported them
        report(row)
    if sweep.requested_command() == "stop":
        run.request("stop")  # the command came before the run was created
    log = partial(append_line, run.path / "log.txt")
    train(run.config, run, Events(log=log, epoch_done=report_or_prune))
    if pruned_at is not None:
        run.set_state("stopped", pruned_at, f"Pruned by the sweep {sweep.id}. Resume continues from here.")
    return pruned_at
