"""Checkpoints: the epoch and step at which weights were saved, how they are named, and which ones are kept."""

import re
from dataclasses import dataclass
from typing import Self

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
        """The title on pages, charts and reports: "untrained", "epoch 12" or "epoch 0, step 4"."""
        if self == Checkpoint(0):
            return "untrained"
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


def checkpoint_interval(epoch: int, num_bytes: int) -> int:
    """The interval, a power of 2, between the epochs whose checkpoints are kept after `epoch`.

    It is the smallest for which they fit into `MAX_CHECKPOINT_BYTES` together with epoch 0 and `epoch`; `num_bytes` is
    the size of one checkpoint.
    """
    interval = 1
    while (epoch // interval + 2) * num_bytes > MAX_CHECKPOINT_BYTES and interval <= epoch:
        interval *= 2
    return interval


def is_saved_early(num_bytes: int) -> bool:
    """Whether weights of this size are also saved within the first epoch."""
    return num_bytes <= MAX_CHECKPOINT_BYTES / 64
