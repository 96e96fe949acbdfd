"""Checkpoints: the epoch and step of weights, their names, which ones are kept, and the weights themselves.

Weights are safetensors, which cannot run code.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minivit.errors import RunError
from minivit.files import check_regular, utf8_name

MAX_CHECKPOINT_BYTES = 256 * 2**20  # all checkpoints of a run together

_FILE_NAME = re.compile(r"epoch-(\d{4,7})(?:-step-(\d{5,9}))?\.safetensors", re.ASCII)


@dataclass(frozen=True, order=True)
class Checkpoint:
    """The weights after `epoch` complete epochs and `step` steps of the next one; sorts in order of training."""

    epoch: int
    step: int = 0

    @classmethod
    def of(cls, checkpoint: "int | Checkpoint") -> "Checkpoint":
        """A checkpoint as it is, an epoch as the checkpoint at its end."""
        return checkpoint if isinstance(checkpoint, Checkpoint) else cls(checkpoint)

    def __str__(self) -> str:
        """The name in links: "12", or "0.4" for step 4 of the first epoch."""
        return f"{self.epoch}.{self.step}" if self.step else str(self.epoch)

    @property
    def title(self) -> str:
        """The title: "epoch 12", or "epoch 0, step 4"; `Run.checkpoint_title` has another one for epoch 0."""
        return f"epoch {self.epoch}" + (f", step {self.step}" if self.step else "")

    @classmethod
    def from_file_name(cls, name: str) -> Self | None:
        """The checkpoint in a file of `checkpoints/`; None for another file."""
        match = _FILE_NAME.fullmatch(name)
        return cls(int(match[1]), int(match[2] or 0)) if match else None

    @property
    def file_name(self) -> str:
        """The name of its file in `checkpoints/`."""
        step = f"-step-{self.step:05d}" if self.step else ""
        return f"epoch-{self.epoch:04d}{step}.safetensors"


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints in a folder, in order; none if it cannot be read."""
    try:
        names = os.listdir(folder)  # noqa: PTH208, thousands at every refresh of a page
    except OSError:
        return []
    return sorted(checkpoint for name in names if (checkpoint := Checkpoint.from_file_name(name)))


def checkpoint_interval(epoch: int, num_bytes: int) -> int:
    """The interval, a power of 2, between the epochs whose checkpoints are kept after `epoch`.

    It is the smallest for which they fit into `MAX_CHECKPOINT_BYTES` together with epoch 0 and `epoch`; `num_bytes` is
    the size of one checkpoint.
    """
    interval = 1
    while (epoch // interval + 2) * num_bytes > MAX_CHECKPOINT_BYTES and interval <= epoch:
        interval *= 2
    return interval


MAX_HEADER_BYTES = 4 * 2**20  # of a .safetensors file, which takes up to 15 times as much memory


def is_saved_early(num_bytes: int) -> bool:
    """Whether weights of this size are also saved within the first epoch."""
    return num_bytes <= MAX_CHECKPOINT_BYTES / 64


def serialize(model: nn.Module | Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A model's weights, or tensors by name, as the content of a .safetensors file."""
    tensors = model.state_dict() if isinstance(model, nn.Module) else model
    return save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata)


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads the tensors in a file into a model; RunError if they do not match it."""
    try:
        tensors, _ = read_safetensors(path)
        if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
            raise SafetensorError("weights of another dtype")
        model.load_state_dict(tensors, assign=True)
    except (SafetensorError, RuntimeError, OSError):
        raise RunError(f"{path} does not contain the weights of this run's model. Choose another epoch.") from None
    for name, tensor in model.state_dict().items():
        if not torch.stack(torch.aminmax(tensor)).isfinite().all():  # 30 times faster than all values
            raise RunError(f"{path} contains NaN or infinite weights, in {name}. Choose another epoch.")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a file; RunError if it is damaged."""
    try:
        return read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}). Delete it to start the run from its beginning.") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a file; raises SafetensorError and OSError."""
    check_regular(path.stat().st_mode, path)
    with path.open("rb") as start:
        if (size := int.from_bytes(start.read(8), "little")) > MAX_HEADER_BYTES:
            raise SafetensorError(f"a header of {size:,} bytes is too large")
    with utf8_name(path) as name, safe_open(name, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
