"""The training loop: a config and a run folder in, metrics and checkpoints out.

`train` is a plain loop that a test, a notebook, the command line and the worker call alike. Everything random is a
function of (seed, epoch, step), so a run that was paused, stopped or killed goes on exactly where it was.

    control     a person's wishes, progress, and how the run folder is left at the end
    optim       optimiser and learning rate
    training    one training under way
    estimate    how long it will take here
"""

from collections.abc import Callable
from typing import Any

import torch

from minivit.config import TrainConfig
from minivit.data import Progress, load_split
from minivit.engine.control import Glance, Interrupted, Say, ending, enough_memory
from minivit.engine.estimate import estimate_seconds
from minivit.engine.optim import learning_rate, make_optimizer
from minivit.engine.training import Training, mix
from minivit.machine import choose_threads, environment, pick_device, slots_needed, turn_on
from minivit.runs import Run

__all__ = [
    "Glance", "Interrupted", "Say", "Training", "estimate_seconds", "learning_rate", "make_optimizer", "mix", "train",
]  # fmt: skip


def train(
    config: TrainConfig,
    run: Run,
    progress: Progress = lambda *_: None,
    say: Say = print,
    after_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> None:
    """Trains `config` in the folder of `run`, from its beginning or from where it was left.

    Epoch 0, the untrained model, is evaluated and kept first. `progress` hears of data, queue and steps, `say` of
    decisions and of each epoch; `after_epoch` gets its metrics row and may raise Interrupted. A wish to pause or stop
    ends the function with that phase. Raises a MiniViTError for what a person can mend; the run's phase is then failed
    and its message says the same.
    """

    def tell(row: dict[str, Any]) -> None:
        say(describe(row))
        after_epoch(row)

    with run.hold(), ending(run, say), enough_memory(config):
        device = pick_device(config.device)
        glance = Glance(run, progress)
        said = f"Waiting for another training on the {device.type}."
        with turn_on(device, lambda: glance("queued", said, 0, 1), slots_needed(config, device)) as device:
            torch.set_num_threads(choose_threads(config))
            glance("loading", "Loading the images", 0, 1)
            data = load_split(config, lambda what, done, total: glance("loading", what, done, total))
            training = Training(config, run, device, *data)
            run.set_environment(environment(device) | training.facts())
            say(training.describe())
            if not run.metrics():
                tell(training.untrained())
            while training.epoch < config.epochs:
                tell(training.next_epoch(glance))
        run.set_state("done", config.epochs, "Finished.")


def describe(row: dict[str, Any]) -> str:
    """A metrics row as one line of text."""
    held_out = f"held-out loss {row['test_loss']:.4f}, accuracy {row['test_acc']:.4f}"
    if row["train_loss"] is None:
        return f"epoch {row['epoch']} (untrained): {held_out}"
    trained = f"train loss {row['train_loss']:.4f}, accuracy {row['train_acc']:.4f}"
    return f"epoch {row['epoch']}: {trained}; {held_out}; {row['images_per_second']:,.0f} images/s"
