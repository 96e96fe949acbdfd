"""The loss of one batch, computed operation by operation, or by one compiled graph where that pays over the whole run.

B images, K classes.
"""

import os
import shutil
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import TrainConfig
from minivit.engine.control import Say
from minivit.predict import as_float

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

COMPILE_SECONDS = 45  # what Inductor takes for forward and backward; less than 10 where it finds them in its cache
SAVED = 0.2  # share of a step that a compiled one saves, measured for the article's model on a CPU


class StepLoss:
    """Sum of the losses of a batch, for the gradients, and the (2,) sums of losses and right answers, for the metrics.

    Called with images uint8 (B, …) and labels (B,) or target shares (B, K). `forward` maps floats 0..1 to logits.
    `many_small` says that its operations are so small that calling them takes much of the time: what compiling saves
    is the calls. The convolutions and matrices of a larger model took as long compiled as plain on a CPU.
    """

    def __init__(
        self, config: TrainConfig, forward: Callable[[Tensor], Tensor], device: torch.device, many_small: bool = True
    ) -> None:
        self.config, self.device = config, device
        self.saves = SAVED if many_small or device.type == "cuda" else 0.0
        self.plain = _make_loss(config, forward, _dtype(config, device))
        self.compiled: Loss | None = None
        self.decided = config.compile == "off"

    def __call__(self, batch: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.compiled is not None and len(batch) == self.config.batch_size:  # another size would be compiled anew
            return self.compiled(batch, target)
        return self.plain(batch, target)

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
            mode = "reduce-overhead" if self.device.type == "cuda" else None  # CUDA graphs
            self.compiled = torch.compile(self.plain, fullgraph=True, dynamic=False, mode=mode)
            say("The step is compiled, as the settings ask for." if on else f"The step is compiled: {told}.")


def _make_loss(config: TrainConfig, forward: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Loss:
    smoothing = config.label_smoothing

    def loss(batch: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(batch.device.type, dtype, enabled=dtype != torch.float32):
            scores = forward(as_float(batch)).float()
        total = F.cross_entropy(scores, target, label_smoothing=smoothing, reduction="sum")
        labels = target if target.ndim == 1 else target.argmax(1)
        return total, torch.stack([total.detach(), (scores.argmax(1) == labels).sum()])

    return loss


def _dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: bf16 where asked for, or where a GPU has units for it."""
    made_for_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and made_for_it)
    return torch.bfloat16 if bf16 else torch.float32


def _can_compile(device: torch.device) -> bool:
    """Whether Inductor finds what it needs: Triton, which comes with torch for CUDA, or a C++ compiler."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    return device.type == "cuda" or any(shutil.which(name) for name in compilers if name)
