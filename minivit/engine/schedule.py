"""What changes from step to step, and is known before an epoch begins: the learning rate, other scalars, and seeds."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from minivit.config import TrainConfig

BETA1, BETA2 = 0.9, 0.999  # of Adam
Scalar = float | Tensor


class StepScalars(NamedTuple):
    """The scalars of one step: floats here, 0-dimensional tensors on the device inside the step.

    As tensors they are inputs of a compiled step, which is compiled once for all steps.
    """

    lr: Scalar
    loss_scale: Scalar  # 1 / images in the batch, those of all processes: from a sum of losses to their mean
    ema_decay: Scalar
    exp_avg_scale: Scalar  # Adam's bias corrections, 1 / (1 - β₁^t) …
    exp_avg_sq_scale: Scalar  # … and 1 / √(1 - β₂^t)


def step_scalars(config: TrainConfig, step: int, steps_per_epoch: int, batch_size: int) -> StepScalars:
    """The scalars of a step, counted from 0 over the complete run.

    Computed in double precision: 1 - β^t in float32 is far off in the first steps.
    """
    return StepScalars(
        lr=learning_rate(config, step, steps_per_epoch),
        loss_scale=1 / batch_size,
        ema_decay=min(config.ema, (step + 1) / (step + 10)),  # so that the first steps have little weight
        exp_avg_scale=1 / (1 - BETA1 ** (step + 1)),
        exp_avg_sq_scale=(1 - BETA2 ** (step + 1)) ** -0.5,
    )


def epoch_scalars(config: TrainConfig, epoch: int, batch_sizes: Sequence[int]) -> Tensor:
    """The scalars of all steps of an epoch, one row each, (steps, 5); epochs count from 1."""
    steps_per_epoch = len(batch_sizes)
    first_step = (epoch - 1) * steps_per_epoch
    return torch.tensor(
        [
            step_scalars(config, first_step + step, steps_per_epoch, batch_size)
            for step, batch_size in enumerate(batch_sizes)
        ]
    )


def learning_rate(config: TrainConfig, step: float, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the complete run.

    One-cycle is Smith's (1708.07120) as in torch's OneCycleLR: a cosine from lr / 25 up to lr over 30% of the steps,
    then down to lr / 250,000. Otherwise warm-up is linear; cosine then falls to 0 at the last step. If the user changed
    lr after an epoch, the later steps have the same schedule with the new lr.
    """
    lr = config.lr
    for epoch, changed_lr in config.lr_changes:
        if step >= epoch * steps_per_epoch:
            lr = changed_lr
    last_step = config.epochs * steps_per_epoch - 1
    if config.schedule == "one-cycle":
        low = lr / 25
        peak = 0.3 * (last_step + 1) - 1
        if step <= peak:
            return _half_cosine(low, lr, step / peak)
        return _half_cosine(lr, low / 1e4, (step - peak) / (last_step - peak))
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    if config.schedule == "cosine":
        return _half_cosine(lr, 0.0, (step - warmup_steps) / max(1, last_step - warmup_steps))
    return lr


def derive_seed(*values: int) -> int:
    """One 63-bit seed from a tuple of integers."""
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big") >> 1


def _half_cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` while `share` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
