"""Parameters laid out flat, the rules that step them, and the learning rate of each step.

P numbers in all parameters together. A rule is a few operations on whole tensors of P numbers that change its tensors
in place, so that it can be part of a compiled step.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.model import MiniViT

MOMENTUM = 0.9  # of SGD; and β₁ of Adam
SQUARES = 0.999  # β₂ of Adam
EPSILON = 1e-8
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al., for five rounds


class FlatParameters:
    """All parameters of a model side by side in one tensor `values` (P,), those that weight decay is for first.

    The model's own become views into it, so that an optimiser step, clipping, averaging and the sum over processes
    are each one operation; for a tiny model that is several times faster than one for each parameter.
    """

    def __init__(self, model: MiniViT) -> None:
        named = dict(sorted(model.named_parameters(), key=lambda one: not decays(*one)))
        self.parameters = list(named.values())
        self.shapes = {name: parameter.shape for name, parameter in named.items()}
        self.num_decayed = sum(parameter.numel() for name, parameter in named.items() if decays(name, parameter))
        self.values = self.join(parameter.detach() for parameter in self.parameters)
        for name, view in self.views(self.values).items():
            named[name].data = view

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter's part of `flat` (P,), in its shape, by its name."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def join(self, tensors: Iterable[Tensor]) -> Tensor:
        """One tensor a parameter, in the order of `parameters`, as one of (P,)."""
        return torch.cat([tensor.flatten() for tensor in tensors])


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay is for it: matrices and convolutions, but not CLS and positions."""
    return parameter.ndim >= 2 and name not in ("cls_token", "pos_embed")


class Sgd:
    """Stochastic gradient descent with Nesterov's momentum, as torch's `SGD(momentum=0.9, nesterov=True)`."""

    def __init__(self, config: TrainConfig, flat: FlatParameters) -> None:
        self.flat, self.decay = flat, config.weight_decay
        self.slots = {"momentum": torch.zeros_like(flat.values)}  # what it remembers from step to step, (P,) each

    def factors(self, lr: float, number: int) -> list[float]:
        """What `update` needs to know of step `number`, from 0: numbers in double precision.

        A float32 of 1 - β^t would be wrong by far in the first steps.
        """
        return [lr]

    def update(self, gradient: Tensor, factors: Tensor) -> None:
        """Steps the parameters along `gradient` (P,); `factors` as a tensor on the device."""
        values, momentum = self.flat.values, self.slots["momentum"]
        gradient = gradient + self.decay * values
        momentum.mul_(MOMENTUM).add_(gradient)
        values.sub_(factors[0] * (gradient + MOMENTUM * momentum))


class Adam:
    """Adam (1412.6980); `decoupled` is AdamW (1711.05101), which decays weights apart from the gradient."""

    def __init__(self, config: TrainConfig, flat: FlatParameters, decoupled: bool = False) -> None:
        self.flat, self.decay, self.decoupled = flat, config.weight_decay, decoupled
        self.slots = {name: torch.zeros_like(flat.values) for name in ("exp_avg", "exp_avg_sq")}

    def factors(self, lr: float, number: int) -> list[float]:
        """As `Sgd.factors`: learning rate, and one over the two bias corrections."""
        return [lr, 1 / (1 - MOMENTUM ** (number + 1)), (1 - SQUARES ** (number + 1)) ** -0.5]

    def update(self, gradient: Tensor, factors: Tensor) -> None:
        """As `Sgd.update`."""
        values, lr = self.flat.values, factors[0]
        if self.decay and self.decoupled:
            values[: self.flat.num_decayed].mul_(1 - lr * self.decay)
        elif self.decay:
            gradient = gradient + self.decay * values
        values.sub_(lr * self.direction(gradient, factors))

    def direction(self, gradient: Tensor, factors: Tensor) -> Tensor:
        """Where to go from here, (P,), about 1 in each number."""
        mean, squares = self.slots["exp_avg"], self.slots["exp_avg_sq"]
        mean.lerp_(gradient, 1 - MOMENTUM)
        squares.mul_(SQUARES).addcmul_(gradient, gradient, value=1 - SQUARES)
        return mean * factors[1] / (squares.sqrt() * factors[2] + EPSILON)


class Muon(Adam):
    """Muon (Jordan et al. 2024): a hidden layer's matrix moves by its momentum made orthogonal, all else by AdamW.

    All singular values of such a step are about 1, so that no direction is learned at the cost of the others. It is
    as large as a step of AdamW, 0.2 a number ('Muon is Scalable for LLM Training', 2502.16982, eq. 4), so that one
    learning rate serves both.
    """

    def __init__(self, config: TrainConfig, flat: FlatParameters) -> None:
        super().__init__(config, flat, decoupled=True)
        self.slots["momentum"] = torch.zeros_like(flat.values)
        self.hidden = [name for name, shape in flat.shapes.items() if is_hidden(name, len(shape))]

    def direction(self, gradient: Tensor, factors: Tensor) -> Tensor:
        """As Adam's, that of hidden matrices replaced."""
        momentum = self.slots["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
        looked_ahead = self.flat.views(gradient.lerp(momentum, MUON_MOMENTUM))
        direction = self.flat.views(super().direction(gradient, factors))
        for name in self.hidden:
            matrix = looked_ahead[name].flatten(1)
            direction[name] = 0.2 * max(matrix.shape) ** 0.5 * orthogonal(matrix)
        return self.flat.join(direction.values())


def is_hidden(name: str, ndim: int) -> bool:
    """Whether it is a matrix or convolution between features: not the one that reads pixels, and not the head."""
    return ndim >= 2 and name.startswith(("blocks.", "patch_embed.stem.")) and name != "patch_embed.stem.0.weight"


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) with the singular vectors of `matrix` and all singular values about 1 (0.7 to 1.2).

    Five rounds of Newton and Schulz's iteration with the coefficients of Jordan et al.; products of matrices only.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


Optimizer = Sgd | Adam


def make_optimizer(config: TrainConfig, flat: FlatParameters) -> Optimizer:
    """The rule of the settings."""
    match config.optimizer:
        case "sgd":
            return Sgd(config, flat)
        case "muon":
            return Muon(config, flat)
        case "adam" | "adamw":
            return Adam(config, flat, decoupled=config.optimizer == "adamw")


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
