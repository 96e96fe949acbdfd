"""The workers of a sweep: each takes one waiting trial after another and trains it as an ordinary run."""

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minivit import data
from minivit.config import TrainConfig
from minivit.engine import Interrupted, train
from minivit.errors import ConfigError, DataError, MiniViTError, RunError, TrainingError
from minivit.machine import choose_threads, num_cores, pick_device
from minivit.runs import Run
from minivit.sweep.study import MESSAGE, RUN, WORKER, Sweep, TrialInfo
from minivit.worker import start_detached

if TYPE_CHECKING:
    import optuna


def start_workers(sweep: Sweep) -> None:
    """Starts those of the sweep's workers that are not alive, as processes that outlive whoever started them."""
    sweep.request("start")
    for worker in range(sweep.num_workers):
        if not sweep.is_worker_alive(worker):
            start_detached("minivit.sweep", str(sweep.path.resolve()), str(worker), log=sweep.path / "log.txt")


def as_completed(sweep: Sweep, seconds: float = 0.5) -> Iterator[TrialInfo]:
    """Trials as they come to an end from now on, until no worker of this machine is left."""
    ended = {tried.number for tried in sweep.trials() if tried.phase not in ("waiting", "running")}
    active = True
    while active:
        active = sweep.active  # looked at before the trials, so that none ends unseen
        for tried in sweep.trials():
            if tried.number not in ended and tried.phase not in ("waiting", "running"):
                ended.add(tried.number)
                yield tried
        time.sleep(seconds * active)


def main(sweep_dir: str, worker: int) -> int:
    """Works on the sweep until nothing waits or somebody stops it; 0, or 2 for what a person can mend, else 1."""
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
    """Trains waiting trials until there is none, or somebody stops the sweep."""
    with sweep.queue_lock():
        sweep.fail_orphaned(own=worker)
    while sweep.requested_command() != "stop":
        pick_device(sweep.config.base.device)
        data.check(sweep.config.base)  # else all trials would be pruned for the same reason
        trial = claim(sweep, worker)
        if trial is None:
            return
        run_trial(sweep, trial)


def claim(sweep: Sweep, worker: int) -> "optuna.Trial | None":
    """The next waiting trial, from now on this worker's alone; None where no trial waits."""
    import optuna

    waiting = (optuna.trial.TrialState.WAITING,)
    with sweep.queue_lock():
        for frozen in sweep.study().get_trials(deepcopy=False, states=waiting):
            trial_id = sweep.trial_id(frozen.number)
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # on another machine, just now
                # Whose it is stands there before it runs, so that it is never left running by nobody.
                sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                if sweep.storage.set_trial_state_values(trial_id, optuna.trial.TrialState.RUNNING):
                    sweep.storage.set_trial_user_attr(trial_id, WORKER, [sweep.machine, worker])
                    study = sweep.study(frozen.number)
                    study.get_trials(deepcopy=False)  # before this, Optuna's cache of a database knows no trial
                    return optuna.trial.Trial(study, trial_id)
    return None


def run_trial(sweep: Sweep, trial: "optuna.Trial") -> None:
    """Trains one trial and tells the study how it ended.

    What cannot be trained, such as heads that do not divide the embed dim, is pruned with the sentence that says why.
    Raises what concerns all trials, such as a full disk; the trial then waits again, to go on where it is.
    """
    import optuna

    states, begun = optuna.trial.TrialState, time.time()
    ended, message, accuracy = states.WAITING, "", None
    try:
        run = _run(sweep, trial)
        print(f"trial {trial.number}: {format_params(trial.params)} in {run.id}", flush=True)
        pruned_at = _train(sweep, trial, run)
        if run.state.phase == "done":
            ended, accuracy = states.COMPLETE, run.metrics()[-1]["test_acc"]
        elif pruned_at is not None:
            ended, message = states.PRUNED, f"Below the median of earlier trials at epoch {pruned_at}."
        elif sweep.last_stop < begun:
            ended, message = states.PRUNED, "Somebody stopped this one."
    except (ConfigError, DataError, TrainingError) as error:
        ended, message = states.PRUNED, str(error)
    except MiniViTError:
        raise
    except Exception as error:
        ended, message = states.FAIL, f"{type(error).__name__}: {error}. The log has the details."
        raise
    finally:
        if message:
            print(f"trial {trial.number}: {message}", flush=True)
            trial.set_user_attr(MESSAGE, message)
        if ended == states.WAITING:
            sweep.storage.set_trial_state_values(sweep.trial_id(trial.number), ended)
        else:
            trial.study.tell(trial, accuracy, state=ended)


def format_params(params: Mapping[str, Any]) -> str:
    """Settings as a person would type them: `lr=0.0003 depth=2`."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={value}" for name, value in values.items())


def _run(sweep: Sweep, trial: "optuna.Trial") -> Run:
    """The run folder of a trial: the one it had before where it is here, else a new one."""
    params = {one.name: one.suggest(trial) for one in sweep.config.vary}
    machine, run_id = trial.user_attrs.get(RUN, ("", ""))
    with suppress(RunError):  # it was deleted meanwhile
        if machine == sweep.machine:
            run = Run.open(sweep.runs_dir / run_id)
            run.request("resume")
            run.set_state("queued", run.state.epoch, "Its sweep goes on.")
            return run
    run = Run.create(_shared_cores(sweep, sweep.config.base.changed(**params)), sweep.runs_dir, sweep.id)
    trial.set_user_attr(RUN, [sweep.machine, run.id])
    return run


def _shared_cores(sweep: Sweep, config: TrainConfig) -> TrainConfig:
    """Each worker has its share of the cores; tiny models are fastest on one thread anyway."""
    share = max(1, num_cores() // sweep.num_workers)
    return config if config.threads else config.changed(threads=min(choose_threads(config), share))


def _train(sweep: Sweep, trial: "optuna.Trial", run: Run) -> int | None:
    """Trains the run, reporting its test accuracy each epoch; returns the epoch at which it was pruned."""
    pruned_at = None
    reported = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(row: Mapping[str, Any]) -> None:
        if row["epoch"] not in reported:
            trial.report(row["test_acc"], row["epoch"])

    def judge(row: Mapping[str, Any]) -> None:
        nonlocal pruned_at
        report(row)
        if row["epoch"] < run.config.epochs and trial.should_prune():
            pruned_at = row["epoch"]
            raise Interrupted("stop")

    def say(line: str) -> None:
        with (run.path / "log.txt").open("a") as log:
            log.write(line + "\n")

    for row in run.metrics():  # of an earlier worker that was killed before it told them
        report(row)
    if sweep.requested_command() == "stop":
        run.request("stop")  # whoever asked could not know of this run yet
    train(run.config, run, say=say, after_epoch=judge)
    if pruned_at is not None:
        run.set_state("stopped", pruned_at, f"Pruned by the sweep {sweep.id}. Resume goes on from here.")
    return pruned_at
