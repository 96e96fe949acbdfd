"""One trial of a sweep, trained as an ordinary run."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minivit.config import TrainConfig
from minivit.engine import Events, Interrupted, train
from minivit.errors import ConfigError, DataError, MiniViTError, RunError, TrainingError
from minivit.machine import choose_threads, num_cores
from minivit.runs import Run
from minivit.sweep.study import MESSAGE, RUN
from minivit.sweep.sweep import Sweep
from minivit.sweep.trials import format_params

if TYPE_CHECKING:
    import optuna


def run_trial(sweep: Sweep, trial: "optuna.Trial") -> None:
    """Trains one trial and writes to the study how it ended.

    A trial that cannot be trained, for example because its heads do not divide the embedding dimension, is pruned with
    the reason. Raises errors that concern all trials, such as a full disk; the trial then waits again, to continue.
    """
    import optuna

    states, started = optuna.trial.TrialState, time.time()
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
    run = Run.create(_with_threads(sweep, sweep.config.base.changed(**params)), sweep.runs_dir, sweep.id)
    trial.set_user_attr(RUN, [sweep.machine, run.id])
    return run


def _with_threads(sweep: Sweep, config: TrainConfig) -> TrainConfig:
    """Settings with the threads of one worker, at most its share of the cores."""
    share = max(1, num_cores() // sweep.num_workers)
    return config if config.threads else config.changed(threads=min(choose_threads(config), share))


def _train(sweep: Sweep, trial: "optuna.Trial", run: Run) -> int | None:
    """Trains the run and reports its test accuracy after each epoch; returns the epoch at which it was pruned."""
    pruned_at = None
    reported = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(row: Mapping[str, Any]) -> None:
        if row["epoch"] not in reported:
            trial.report(row["test_acc"], row["epoch"])

    def report_or_prune(row: Mapping[str, Any]) -> None:
        nonlocal pruned_at
        report(row)
        if row["epoch"] < run.config.epochs and trial.should_prune():
            pruned_at = row["epoch"]
            raise Interrupted("stop")

    def write_log(line: str) -> None:
        with (run.path / "log.txt").open("a") as log:
            log.write(line + "\n")

    for row in run.metrics():  # an earlier worker may have been killed before it reported them
        report(row)
    if sweep.requested_command() == "stop":
        run.request("stop")  # the run is too new to have got the command
    train(run.config, run, Events(log=write_log, epoch_done=report_or_prune))
    if pruned_at is not None:
        run.set_state("stopped", pruned_at, f"Pruned by the sweep {sweep.id}. Resume continues from here.")
    return pruned_at
