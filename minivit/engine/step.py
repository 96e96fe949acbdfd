"""One training step, eager, as a CUDA graph, or as one compiled graph.

B images, K classes, P parameters.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from minivit.config import TrainConfig
from minivit.engine.distributed import SINGLE_PROCESS, Group
from minivit.engine.optim import FlatParameters, make_optimizer
from minivit.engine.schedule import StepScalars
from minivit.engine.step_graph import compile_or_fall_back, record_or_fall_back
from minivit.fused import FusedViT
from minivit.inference import as_float
from minivit.model import MiniViT

Step = Callable[[Tensor, Tensor, Tensor], object]  # of a batch, its target and scalars


class TrainStep:
    """Loss and gradient of a batch, their sum over processes, gradient clipping, the optimizer, the moving average.

    A step changes these tensors in place: the model's weights (`flat.values`), the optimizer's `state`, `ema` (the
    moving average of the weights, if enabled in the settings), and `sums` (2,), the losses and the correct predictions
    of the epoch. So a complete step can be one graph: for a tiny model it is about a hundred small operations, and
    launching them takes most of the time.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: MiniViT,
        group: Group = SINGLE_PROCESS,
        in_patches: bool = False,
        class_weights: Tensor | None = None,
    ) -> None:
        self.config = config
        self.group = group
        self.class_weights = class_weights  # (K,), factors of the loss
        self.forward = FusedViT(model, in_patches)
        self.device = model.mean.device
        self.flat = FlatParameters(model)
        self.optimizer = make_optimizer(config, self.flat)
        self.ema = self.flat.values.clone() if config.ema else None
        self.sums = torch.zeros(2, dtype=torch.float32 if self.device.type == "mps" else torch.float64).to(self.device)
        self.dtype = autocast_dtype(config, self.device)
        self.buffers = dict(self.forward.named_buffers())
        self.cuda_graph: Step | None = None
        self.compiled: Step | None = None
        self.compiled_size = len(group.shard(torch.empty(config.batch_size)))  # a graph has one batch size

    def __call__(self, batch: Tensor, target: Tensor, scalars: Tensor) -> None:
        """Trains on this process's share of a batch: uint8 or float 0..1, and labels (B,) or target shares (B, K).

        `scalars` is a row of `epoch_scalars` on the device.
        """
        graph = self.compiled or self.cuda_graph
        step = graph if graph and len(batch) == self.compiled_size else self.eager
        images = batch if self.forward.in_patches else as_float(batch)  # in a graph, it would be converted at each use
        step(images, target, scalars)

    def tensors(self) -> dict[str, Tensor]:
        """What a step reads or changes besides its arguments, by name."""
        optional = {"ema": self.ema, "class_weights": self.class_weights}
        tensors = {"values": self.flat.values, "sums": self.sums} | self.optimizer.state | self.buffers
        return tensors | {name: tensor for name, tensor in optional.items() if tensor is not None}

    def trace(self, tensors: Mapping[str, Tensor], batch: Tensor, target: Tensor, scalars: Tensor) -> None:
        """The step as a function of all that it reads and changes, for a compiler; afterwards it is of no other use."""
        self.flat.values = tensors["values"]
        self.sums = tensors["sums"]
        self.ema = tensors.get("ema")
        self.class_weights = tensors.get("class_weights")
        self.optimizer.state = {name: tensors[name] for name in self.optimizer.state}
        self.buffers = {name: tensors[name] for name in self.buffers}
        self._update(*self._flat_gradient(batch, target, scalars), scalars)

    def eager(self, batch: Tensor, target: Tensor, scalars: Tensor) -> None:
        """The step without a graph; images here and below are as `FusedViT` takes them."""
        self._update(*self._gradient(batch, target, scalars), scalars)

    def _state(self) -> list[Tensor]:
        """The tensors that a step changes in place."""
        state = [self.flat.values, self.sums, *self.optimizer.state.values()]
        return state if self.ema is None else [*state, self.ema]

    def record(self, report: Callable[[str | None], None]) -> None:
        """Repeats the following plain steps as a CUDA graph; `report` gets the cause of a failure, or None."""
        state = self._state()
        self.cuda_graph = self._as_graph(self._gradient, lambda _, plain: record_or_fall_back(plain, state, report))

    def compile(self, report: Callable[[str | None], None]) -> None:
        """Compiles the step at its next call; `report` gets the cause of a failure, or None."""
        state = self._state()
        if self.device.type == "cuda":  # CUDA graphs update tensors in place only at fixed addresses
            for tensor in state:
                torch._dynamo.mark_static_address(tensor)
        self.compiled = self._as_graph(
            self._flat_gradient, lambda function, plain: compile_or_fall_back(function, plain, state, report)
        )

    def _as_graph(
        self, gradient: Callable[..., tuple[Tensor, Tensor]], make: Callable[..., Callable[..., Any]]
    ) -> Step:
        """The step as a graph by `make(function, plain)`; for several processes its gradient, as all_reduce follows."""
        is_single = self.group.world_size == 1
        if not is_single:
            gradient = make(gradient, self._gradient)

        def step(batch: Tensor, target: Tensor, scalars: Tensor) -> None:
            self._update(*gradient(batch, target, scalars), scalars)

        return make(step, self.eager) if is_single else step

    def _gradient(self, batch: Tensor, target: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (P,) of this process's share of the batch, and its sums (2,) of losses and correct predictions."""
        total, sums = self._losses(self.forward, batch, target)
        loss = total * StepScalars(*scalars.unbind()).loss_scale
        return self.flat.flatten(torch.autograd.grad(loss, self.flat.parameters)), sums

    def _flat_gradient(self, batch: Tensor, target: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """`_gradient` as a function of one tensor, which Inductor compiles into a faster graph."""

        def loss(values: Tensor) -> tuple[Tensor, Tensor]:
            views = {f"model.{name}": view for name, view in self.flat.views(values).items()} | self.buffers
            total, sums = self._losses(lambda images: functional_call(self.forward, views, (images,)), batch, target)
            return total * StepScalars(*scalars.unbind()).loss_scale, sums

        return grad(loss, has_aux=True)(self.flat.values)

    def _losses(self, forward: Callable[[Tensor], Tensor], batch: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses of a batch, and the sums (2,) of losses and correct predictions."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = forward(batch).float()
        total = F.cross_entropy(
            logits, target, self.class_weights, label_smoothing=self.config.label_smoothing, reduction="sum"
        )
        labels = target if target.ndim == 1 else target.argmax(1)
        return total, torch.stack([total.detach(), (logits.argmax(1) == labels).sum()])

    @torch.no_grad()
    def _update(self, gradient: Tensor, sums: Tensor, scalars: Tensor) -> None:
        """Updates all state of the step from this process's part of the gradient (P,)."""
        step_scalars = StepScalars(*scalars.unbind())
        self.group.all_reduce(gradient)
        if self.config.grad_clip:
            gradient = gradient * (self.config.grad_clip / (gradient.norm() + 1e-6)).clamp(max=1)
        self.optimizer.update(gradient, step_scalars)
        if self.ema is not None:
            self.ema.lerp_(self.flat.values, 1 - step_scalars.ema_decay)
        self.sums.add_(sums)


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: bf16 if set so, or by default on GPUs with native support."""
    has_units = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_units)
    return torch.bfloat16 if bf16 else torch.float32
