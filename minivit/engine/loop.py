"""The training loop: a config and a run folder in, metrics and checkpoints out.

`train` is a plain loop that a test, a notebook, the command line and the worker call alike. Everything random is a
function of (seed, epoch, step), so a run that was paused, stopped or killed goes on exactly where it was.

    control     a person's commands, progress, and how the run folder is left at the end
    optim       flat parameters, the rules that step them, and learning rate
    whitening   patches decorrelated while the model learns
    step        what one batch changes, compiled where that pays
    training    one training under way
    devices     several processes that train together
    estimate    how long it will take here
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from minivit.config import TrainConfig
from minivit.data import Progress, load_split
from minivit.engine.control import Glance, Say, ending, enough_memory, refuse_other_images
from minivit.engine.distributed import ALONE, Follower, Group, everywhere
from minivit.engine.training import Training
from minivit.errors import RunError
from minivit.machine import acquire_device, choose_threads, environment, pick_device, slots_needed
from minivit.runs import Run


def train(
    config: TrainConfig,
    run: Run,
    progress: Progress = lambda *_: None,
    say: Say = print,
    after_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    group: Group = ALONE,
) -> None:
    """Trains `config` in the folder of `run`, from its beginning or from where it was left.

    Epoch 0, the untrained model, is evaluated and kept first. `progress` hears of data, queue and steps, `say` of
    decisions and of each epoch; `after_epoch` gets its metrics row and may raise Interrupted. A pause or stop command
    ends the function with that phase. Raises a MiniViTError for what a person can mend; the run's phase is then failed
    and its message says the same. Each process of a `group` calls this; the main one alone writes and says something.
    """
    if config.imported:
        raise RunError(f"The run {run.id} is a model that was imported; it is there to be looked at, not trained on.")
    if not group.is_main:
        run, progress, say = Follower(run.path, run.config), lambda *_: None, lambda _: None

    def tell(row: dict[str, Any]) -> None:
        say(describe(row))
        after_epoch(row)

    with run.hold(), ending(run, say), group.telling(), enough_memory(config):
        device = pick_device(config.device, group.local_rank, group.local_size)
        glance = Glance(run, progress, group)
        said = f"Waiting for another training on the {device.type}."
        num_slots = slots_needed(config, device, group.local_size)
        turn = (
            acquire_device(device, lambda: glance("queued", said, 0, 1), num_slots)
            if group.is_main
            else nullcontext(device)
        )
        with turn as device:
            group.meet("the device is ours")
            if device.index is not None:
                torch.cuda.set_device(device)
            torch.set_num_threads(choose_threads(config, group.local_size))
            glance("loading", "Loading the images", 0, 1)
            data = group.in_turn(lambda: load_split(config, lambda *news: glance("loading", *news)))
            training = Training(config, run, device, *data, group)
            facts = training.facts()
            group.same("images", facts["data_fingerprint"])
            group.same("state of the run", f"{training.epoch} {training.step} {len(run.metrics())}")
            refuse_other_images(run, facts)
            here = environment(device)
            run.set_environment(here | everywhere(group, here) | facts)
            say(training.describe())
            if not run.metrics():
                tell(training.untrained())
            while training.epoch < config.epochs:
                tell(training.next_epoch(glance, say))
        run.set_state("done", config.epochs, "Finished.")


def describe(row: dict[str, Any]) -> str:
    """A metrics row as one line of text."""
    test_set = f"test loss {row['test_loss']:.4f}, accuracy {row['test_acc']:.4f}"
    if row["train_loss"] is None:
        return f"epoch {row['epoch']} (untrained): {test_set}"
    trained = f"train loss {row['train_loss']:.4f}, accuracy {row['train_acc']:.4f}"
    return f"epoch {row['epoch']}: {trained}; {test_set}; {row['images_per_second']:,.0f} images/s"
