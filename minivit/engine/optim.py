"""The parameters as one flat tensor, and the optimizers that update it.

torch.optim loops over parameters. For a tiny model that loop takes most of a step: one operation on a flat tensor is
several times faster, and so are clipping, averaging and the sum over processes. An optimizer here is a few operations
on tensors of all P parameters together, updated in place, so it can be part of a compiled step. The tests
compare each one with torch's own.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.engine.schedule import BETA1, BETA2, StepScalars
from minivit.model import MiniViT

SGD_MOMENTUM = 0.9
EPSILON = 1e-8
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al., for five iterations


class FlatParameters:
    """All parameters of a model in one tensor `values` (P,), those with weight decay first.

    The model's parameters become views into it.
    """

    def __init__(self, model: MiniViT) -> None:
        parameters = dict(sorted(model.named_parameters(), key=lambda item: not has_weight_decay(*item)))
        self.parameters = list(parameters.values())
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self.num_decayed = sum(each.numel() for name, each in parameters.items() if has_weight_decay(name, each))
        self.values = self.flatten(parameter.detach() for parameter in self.parameters)
        for name, view in self.views(self.values).items():
            parameters[name].data = view

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The part of `flat` (P,) of each parameter, in its shape, by its name."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """One tensor per parameter, in the order of `parameters`, concatenated to (P,)."""
        return torch.cat([tensor.flatten() for tensor in tensors])


def has_weight_decay(name: str, parameter: Tensor) -> bool:
    """Whether AdamW decays a parameter: matrices and convolutions, but not CLS, registers and positions."""
    return parameter.ndim >= 2 and name not in ("cls_token", "reg_token", "pos_embed")


class SGD:
    """Stochastic gradient descent with Nesterov momentum, as torch's `SGD(momentum=0.9, nesterov=True)`.

    `state` are the tensors (P,) that an optimizer keeps from step to step.
    """

    def __init__(self, config: TrainConfig, flat: FlatParameters) -> None:
        self.flat = flat
        self.weight_decay = config.weight_decay
        self.state = {"momentum": torch.zeros_like(flat.values)}

    def update(self, gradient: Tensor, scalars: StepScalars) -> None:
        """Updates the parameters and `state` in place from the gradient (P,)."""
        values = self.flat.values
        momentum = self.state["momentum"]
        gradient = gradient + self.weight_decay * values
        momentum.mul_(SGD_MOMENTUM).add_(gradient)
        values.sub_(scalars.lr * (gradient + SGD_MOMENTUM * momentum))


class Adam:
    """Adam (1412.6980), or AdamW (1711.05101) if weight decay is `decoupled` from the gradient."""

    def __init__(self, config: TrainConfig, flat: FlatParameters, decoupled: bool = False) -> None:
        self.flat = flat
        self.weight_decay = config.weight_decay
        self.decoupled = decoupled
        self.state = {name: torch.zeros_like(flat.values) for name in ("exp_avg", "exp_avg_sq")}

    def update(self, gradient: Tensor, scalars: StepScalars) -> None:
        values = self.flat.values
        if self.weight_decay and self.decoupled:
            values[: self.flat.num_decayed].mul_(1 - scalars.lr * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * values
        values.sub_(scalars.lr * self.direction(gradient, scalars))

    def direction(self, gradient: Tensor, scalars: StepScalars) -> Tensor:
        """The update at a learning rate of 1, (P,)."""
        exp_avg, exp_avg_sq = self.state["exp_avg"], self.state["exp_avg_sq"]
        exp_avg.lerp_(gradient, 1 - BETA1)
        exp_avg_sq.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        return exp_avg * scalars.exp_avg_scale / (exp_avg_sq.sqrt() * scalars.exp_avg_sq_scale + EPSILON)


class Muon(Adam):
    """Muon (Jordan et al. 2024) for the matrices of hidden layers, AdamW for all other parameters.

    Muon moves a matrix by its orthogonalized momentum. All singular values of such an update are about 1, so no
    direction is learned at the cost of the others. It is scaled to the size of an AdamW update, an RMS of 0.2
    ('Muon is Scalable for LLM Training', 2502.16982, eq. 4), so that one learning rate serves both.
    """

    def __init__(self, config: TrainConfig, flat: FlatParameters) -> None:
        super().__init__(config, flat, decoupled=True)
        self.state["momentum"] = torch.zeros_like(flat.values)
        self.hidden: dict[tuple[int, ...], list[str]] = {}  # names by shape, rows and columns
        for name, shape in flat.shapes.items():  # neither the first layer, which reads pixels, nor the head
            is_hidden = name.startswith(("blocks.", "patch_embed.stem.")) and name != "patch_embed.stem.0.weight"
            if is_hidden and len(shape) >= 2:
                self.hidden.setdefault((shape[0], shape[1:].numel()), []).append(name)

    def direction(self, gradient: Tensor, scalars: StepScalars) -> Tensor:
        momentum = self.state["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
        nesterov = self.flat.views(gradient.lerp(momentum, MUON_MOMENTUM))
        direction = self.flat.views(super().direction(gradient, scalars))
        for shape, names in self.hidden.items():
            matrices = [nesterov[name].flatten(1) for name in names]
            stacked = torch.stack(matrices) if len(names) > 1 else matrices[0]  # a batch of one is slower on a CPU
            update = 0.2 * max(shape) ** 0.5 * orthogonalize(stacked)
            direction.update(zip(names, update.reshape(-1, *shape), strict=True))
        return self.flat.flatten(direction.values())


def orthogonalize(matrices: Tensor) -> Tensor:
    """(m, n) or (k, m, n) with the singular vectors of `matrices` and all singular values about 1 (0.7 to 1.2).

    Five Newton-Schulz iterations with the coefficients of Jordan et al., which need matrix products only.
    """
    a, b, c = NEWTON_SCHULZ
    add_product = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    is_wide = matrices.shape[-2] <= matrices.shape[-1]
    wide = matrices if is_wide else matrices.mT
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = wide @ wide.mT
        polynomial = add_product(square, square, square, beta=b, alpha=c)
        wide = add_product(wide, polynomial, wide, beta=a)
    return wide if is_wide else wide.mT


Optimizer = SGD | Adam


def make_optimizer(config: TrainConfig, flat: FlatParameters) -> Optimizer:
    if config.optimizer in ("adam", "adamw"):
        return Adam(config, flat, decoupled=config.optimizer == "adamw")
    return (SGD if config.optimizer == "sgd" else Muon)(config, flat)
