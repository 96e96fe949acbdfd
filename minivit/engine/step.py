"""What one batch changes, computed operation by operation, or by one compiled graph where that pays over the whole run.

B images, K classes, P numbers in all parameters.
"""

import os
import shutil
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from minivit.config import TrainConfig
from minivit.engine.compilation import compile_or_fall_back
from minivit.engine.control import Say
from minivit.engine.distributed import ALONE, Group
from minivit.engine.optim import FlatParameters, make_optimizer
from minivit.fused import FusedViT
from minivit.inference import as_float
from minivit.model import MiniViT

Change = Callable[[Tensor, Tensor, Tensor], None]

COMPILE_SECONDS = 45  # what Inductor takes; about 5 where it finds the step in its cache
SAVED = 0.6  # share of a step that a compiled one saves, measured for the article's model on a CPU


class Step:
    """One step of training: loss and gradient of a batch, the sum over processes, clipping, optimiser, average.

    All that it changes are tensors that it changes in place: the model's weights, what the optimiser remembers, the
    `average` of the weights where the settings ask for one, and the `sums` (2,) of losses and right answers. So the
    whole of it can be one graph, which for a tiny model saves the calls of some hundred small operations. `many_small`
    says that calling takes much of the time: the convolutions and matrices of a larger model took as long compiled as
    plain on a CPU.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: MiniViT,
        group: Group = ALONE,
        many_small: bool = True,
        in_patches: bool = False,
    ) -> None:
        self.config, self.model, self.group = config, model, group
        self.forward = FusedViT(model, in_patches)
        self.device = model.mean.device
        self.flat = FlatParameters(model)
        self.optimizer = make_optimizer(config, self.flat)
        self.average = self.flat.values.clone() if config.ema else None
        self.sums = torch.zeros(2, dtype=torch.float32 if self.device.type == "mps" else torch.float64).to(self.device)
        self.dtype = _dtype(config, self.device)
        self.saves = SAVED if many_small or self.device.type == "cuda" else 0.0
        self.usual_size = len(group.share(torch.empty(config.batch_size)))  # a graph is for one size of batches
        self.compiled: Change | None = None
        self.decided = config.compile == "off"

    def factors(self, lr: float, number: int, num_images: int) -> list[float]:
        """What step `number`, from 0 over the whole run, multiplies by; `num_images` are those of all processes."""
        kept = min(self.config.ema, (number + 1) / (number + 10))  # of the average; the first steps are soon forgotten
        return [1 / num_images, kept, *self.optimizer.factors(lr, number)]

    def __call__(self, batch: Tensor, target: Tensor, factors: Tensor) -> None:
        """Learns from this process's share of a batch: uint8 or float 0..1, and labels (B,) or target shares (B, K).

        `factors` is what the method of that name gives, as a tensor on the device.
        """
        change = self.compiled if self.compiled is not None and len(batch) == self.usual_size else self.plain
        change(as_float(batch), target, factors)  # inside a graph, Inductor would convert at each use

    def decide(self, seconds_left: float | None, say: Say) -> None:
        """Compiles from now on, or does not, and says why; `seconds_left` is what plain steps would take to the end.

        Before the first epoch, when nobody knows it (None), 'auto' waits.
        """
        on = self.config.compile == "on"
        if self.decided or (seconds_left is None and not on):
            return
        self.decided = True
        saved = self.saves * (seconds_left or 0)
        told = f"compiling takes about {COMPILE_SECONDS} s and would save about {saved:.0f} s of this run"
        if not on and saved < COMPILE_SECONDS:
            say(f"The step is not compiled: {told}.")
        elif not _can_compile(self.device):
            say("The step is not compiled: this machine has no C++ compiler.")
        else:
            success = "The step is compiled, as the settings ask for." if on else f"The step is compiled: {told}."
            failure = "The step is not compiled" + (", although the settings ask for it" if on else "")
            self.compiled = self._compile(lambda cause: say(f"{failure}: {cause}." if cause else success))

    def plain(self, batch: Tensor, target: Tensor, factors: Tensor) -> None:
        """The step, operation by operation; images here and below are float 0..1."""
        self._change(*self._gradient(batch, target, factors), factors)

    def _compile(self, report: Callable[[str | None], None]) -> Change:
        state = [self.flat.values, self.sums, *self.optimizer.slots.values()]
        state += [] if self.average is None else [self.average]
        if self.device.type == "cuda":  # a CUDA graph may change in place only what stays where it is
            for tensor in state:
                torch._dynamo.mark_static_address(tensor)
        gradient = self._flat_gradient
        if self.group.size > 1:  # which add up between the graph and the rest
            gradient = compile_or_fall_back(gradient, self._gradient, state, report)

        def step(batch: Tensor, target: Tensor, factors: Tensor) -> None:
            self._change(*gradient(batch, target, factors), factors)

        return step if self.group.size > 1 else compile_or_fall_back(step, self.plain, state, report)

    def _gradient(self, batch: Tensor, target: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (P,) of this process's part of the batch, and the (2,) sums of losses and of right answers."""
        total, sums = self._losses(self.forward, batch, target)
        return self.flat.join(torch.autograd.grad(total * factors[0], self.flat.parameters)), sums

    def _flat_gradient(self, batch: Tensor, target: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """`_gradient` as a function of one tensor, of which Inductor makes a faster graph than of many."""

        def mean_loss(values: Tensor) -> tuple[Tensor, Tensor]:
            views = {f"model.{name}": view for name, view in self.flat.views(values).items()}
            total, sums = self._losses(lambda images: functional_call(self.forward, views, (images,)), batch, target)
            return total * factors[0], sums

        return grad(mean_loss, has_aux=True)(self.flat.values)

    def _losses(self, forward: Callable[[Tensor], Tensor], batch: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses of a batch, and the (2,) sums of losses and of right answers."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            scores = forward(batch).float()
        total = F.cross_entropy(scores, target, label_smoothing=self.config.label_smoothing, reduction="sum")
        labels = target if target.ndim == 1 else target.argmax(1)
        return total, torch.stack([total.detach(), (scores.argmax(1) == labels).sum()])

    @torch.no_grad()
    def _change(self, gradient: Tensor, sums: Tensor, factors: Tensor) -> None:
        """Changes all that a step changes, from this process's part of the gradient (P,)."""
        self.group.add_up(gradient)
        if self.config.grad_clip:
            gradient = gradient * (self.config.grad_clip / (gradient.norm() + 1e-6)).clamp(max=1)
        self.optimizer.update(gradient, factors[2:])
        if self.average is not None:
            self.average.lerp_(self.flat.values, 1 - factors[1])
        self.sums.add_(sums)


def _dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: bf16 where asked for, or where a GPU has units for it."""
    made_for_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and made_for_it)
    return torch.bfloat16 if bf16 else torch.float32


def _can_compile(device: torch.device) -> bool:
    """Whether Inductor finds what it needs: Triton, which comes with torch for CUDA, or a C++ compiler."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    return device.type == "cuda" or any(shutil.which(name) for name in compilers if name)
