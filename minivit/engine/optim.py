"""Parameters laid out flat, the optimisers that step them, and the learning rate of each step."""

import math

import torch
from torch import Tensor, nn

from minivit.config import TrainConfig
from minivit.model import MiniViT


class FlatParameters:
    """All parameters of a model side by side in one tensor, and all their gradients in another.

    The model's own become views into them, so that an optimiser step, clipping, averaging and the sum over processes
    are each one operation; for a tiny model that is several times faster than one for each parameter. Those that
    weight decay is for stand first.
    """

    def __init__(self, model: MiniViT) -> None:
        named = sorted(model.named_parameters(), key=lambda one: not decays(*one))
        self.values = torch.cat([parameter.detach().flatten() for _, parameter in named])
        self.gradients = torch.zeros_like(self.values)
        start = 0
        for _, parameter in named:
            stop = start + parameter.numel()
            parameter.data = self.values[start:stop].view_as(parameter)
            parameter.grad = self.gradients[start:stop].view_as(parameter)
            start = stop
        num_decayed = sum(parameter.numel() for name, parameter in named if decays(name, parameter))
        self.whole = self._part(0, start)
        self.decayed, self.plain = self._part(0, num_decayed), self._part(num_decayed, start)

    def _part(self, start: int, stop: int) -> nn.Parameter:
        part = nn.Parameter(self.values[start:stop])
        part.grad = self.gradients[start:stop]
        return part


def decays(name: str, parameter: Tensor) -> bool:
    """Whether AdamW decays it: matrices and convolutions, but not CLS and positions."""
    return parameter.ndim >= 2 and name not in ("cls_token", "pos_embed")


def make_optimizer(config: TrainConfig, flat: FlatParameters) -> torch.optim.Optimizer:
    """The optimiser of the settings; AdamW does not decay LayerNorms, biases, CLS and positions."""
    lr, decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD([flat.whole], lr=lr, momentum=0.9, nesterov=True, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam([flat.whole], lr=lr, weight_decay=decay, fused=True)
    decayed = {"params": [flat.decayed], "weight_decay": decay}
    return torch.optim.AdamW([decayed, {"params": [flat.plain], "weight_decay": 0.0}], lr=lr, fused=True)


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
