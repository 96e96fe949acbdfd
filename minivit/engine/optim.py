"""Optimiser and learning rate of the settings."""

import math

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.model import MiniViT


def make_optimizer(config: TrainConfig, model: MiniViT) -> torch.optim.Optimizer:
    """The optimiser of the settings; AdamW does not decay LayerNorms, biases, CLS and positions."""
    if config.optimizer == "sgd":
        decay = config.weight_decay
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim >= 2 and name not in ("cls_token", "pos_embed")].append(parameter)
    decayed = [{"params": groups[decays], "weight_decay": config.weight_decay * decays} for decays in (True, False)]
    return torch.optim.AdamW(decayed, lr=config.lr, fused=True)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run.

    One-cycle is Smith's (1708.07120) as in torch's OneCycleLR: cosine from lr / 25 up over 30 %, down to lr / 250,000.
    Warm-up rises in a straight line; cosine then falls to 0 at the last step.
    """
    last = config.epochs * steps_per_epoch - 1
    if config.schedule == "one-cycle":
        low, peak = config.lr / 25, 0.3 * (last + 1) - 1
        if step <= peak:
            return _half_cosine(low, config.lr, step / peak)
        return _half_cosine(config.lr, low / 1e4, (step - peak) / (last - peak))
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "cosine":
        return _half_cosine(config.lr, 0.0, (step - warmup) / max(1, last - warmup))
    return config.lr


def _half_cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` while `share` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
