"""The training loop: a config and a run folder in, metrics and checkpoints out.

A test, a notebook, the command line and the worker call the same function. Everything random is a function of
(seed, epoch, step), so a run that was paused, stopped or killed picks up exactly where it left off.
"""

import time
from contextlib import nullcontext
from typing import Any

from minivit.config import TrainConfig
from minivit.data import data_warnings, load_split
from minivit.engine.compiler import Compiler
from minivit.engine.control import (
    StatusPoller,
    explain_memory_error,
    hold_run,
    record_environment,
    training_device,
)
from minivit.engine.description import describe
from minivit.engine.distributed import SINGLE_PROCESS, Group
from minivit.engine.events import PRINT_LOG, SILENT, Events, Interrupted, ignore
from minivit.engine.stopping import Clock
from minivit.engine.training import Training
from minivit.engine.watchdog import exit_if_unresponsive
from minivit.errors import RunError
from minivit.runs import Run, load_initial


def train(
    config: TrainConfig,
    run: Run,
    events: Events = PRINT_LOG,
    group: Group = SINGLE_PROCESS,
    startup_seconds: float = 0.0,
    may_exit: bool = False,
) -> None:
    """Trains the model of `config` and writes to the folder of `run`, from the start or where it was interrupted.

    Epoch 0 is the model before training: it is only evaluated and saved. On a requested pause or stop the function
    returns, and the run has that phase. Raises a MiniViTError for user errors; the run's phase is then failed. Each
    process of a `group` calls this; only the main process writes and reports. If the settings limit the time,
    the `startup_seconds` that the process took before this call count toward it. If it `may_exit`, the process ends
    when a pause or stop comes while training cannot react, as during compilation.
    """
    if config.imported:
        raise RunError(f"{run.id} is an imported model, which can be analyzed but not trained.")
    events = events if group.is_main else SILENT
    poller = StatusPoller(run, events, group)
    with (
        hold_run(run, events, group),
        exit_if_unresponsive(poller) if may_exit and group.is_main else nullcontext(),
        group.propagate_error(),
        explain_memory_error(config),
        training_device(config, group, poller) as device,
        Compiler(config, events.log) as compiler,
    ):
        compiler.prepare(device, group)
        start = time.perf_counter()
        train_set, test_set = group.main_process_first(lambda: load_split(config, poller.report))
        clock = Clock(config.minutes, startup_seconds + time.perf_counter() - start, group)
        initial = load_initial(run)
        training = Training(config, device, train_set, test_set, group, clock, initial)
        training.load_position(run)
        record_environment(run, training, group)
        for line in (describe(training, initial), *data_warnings(config, train_set, test_set)):
            events.log(line)
        compiler.record(training.train_step)

        for epoch in training.epochs():
            training.adopt_learning_rate(run)
            training.model.train()
            compiler.advance(training.train_step, training.seconds_left)
            for batch, target, scalars in training.batches(epoch):
                if command := poller.poll(epoch, training.step, training.steps_per_epoch):
                    training.save_position(run)
                    raise Interrupted(command)
                if may_exit and poller.slow_steps:
                    poller.save_position = training.copy_position(run)
                training.train_step(batch, target, scalars)
                training.step += 1
                if epoch == 1:
                    training.save_early(run)
            if may_exit:
                poller.save_position = training.copy_position(run)
            row = training.metrics(epoch)
            poller.save_position = ignore
            training.save_epoch(run, row)
            events.log(format_row(config, row))
            events.epoch_done(row)


def format_row(config: TrainConfig, row: dict[str, Any]) -> str:
    """A metrics row as one line of text."""
    test_metrics = f"test loss {row['test_loss']:.4f}, accuracy {row['test_acc']:.4f}"
    if row["train_loss"] is None:
        return f"epoch {row['epoch']} ({config.start_title}): {test_metrics}"
    train_metrics = f"train loss {row['train_loss']:.4f}, accuracy {row['train_acc']:.4f}"
    return f"epoch {row['epoch']}: {train_metrics}; {test_metrics}; {row['images_per_second']:,.0f} images/s"
