"""Images that stay on disk if they are too large for the memory.

A data set with a split of more than `memory_limit()` bytes is never read completely: its cache files are memory-mapped,
and only the indexed images are copied. Smaller ones are read once into one tensor.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK_BYTES = 2**22
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, which can be less than the machine's


def memory_limit() -> int:
    """Bytes that one split of a data set may take in memory: `MINIVIT_MEMORY` (MB), else a quarter of the memory."""
    megabytes = os.environ.get("MINIVIT_MEMORY", "")
    if megabytes.isdecimal():
        return int(megabytes) * 10**6
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [16 * 2**30]
    with suppress(OSError, ValueError):  # not a container, or one without a limit
        limits.append(int(CGROUP_LIMIT.read_text(encoding="utf-8")))
    return min(limits) // 4


class MappedImages:
    """A tensor (N, …) whose rows are in several memory-mapped ones; indexing copies the requested rows only.

    `select` chooses and orders rows without copying: it keeps their indices.
    """

    def __init__(self, parts: Sequence[Tensor], rows: Tensor | None = None) -> None:
        assert parts and len({(part.dtype, part.shape[1:]) for part in parts}) == 1, "dtypes and shapes must match"
        self.parts = tuple(parts)
        self.ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.rows = torch.arange(int(self.ends[-1])) if rows is None else rows
        self.dtype, self.device = parts[0].dtype, parts[0].device
        self.shape = torch.Size([len(self.rows), *parts[0].shape[1:]])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """The bytes that the rows would take in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.integer] | Tensor) -> Tensor:
        """The rows that this index selects of a tensor, copied from the files."""
        rows = self.rows[torch.as_tensor(index) if isinstance(index, Sequence) else index]
        return self.gather(rows.flatten()).reshape(*rows.shape, *self.shape[1:])

    def gather(self, rows: Tensor, pin_memory: bool = False) -> Tensor:
        """Rows (B,) of the concatenated parts, (B, …); `pin_memory` as in `torch.empty`."""
        gathered = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype, pin_memory=pin_memory)
        part_of = torch.searchsorted(self.ends, rows.contiguous(), right=True)
        for index in part_of.unique().tolist():
            part, where = self.parts[index], (part_of == index).nonzero().flatten()
            gathered[where] = part[rows[where] - (self.ends[index] - len(part))]
        return gathered

    def select(self, rows: Tensor) -> "MappedImages":
        """These rows, in this order, without copying."""
        return MappedImages(self.parts, self.rows[rows])

    def split(self, size: int) -> Iterator[Tensor]:
        """Chunk by chunk, `size` rows each, in memory one at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


Images = Tensor | MappedImages  # uint8 (N, C, H, W); both can be indexed and split and have a shape


def row_chunks(images: Images) -> Iterator[Tensor]:
    """All images, a few megabytes at a time, to bound the memory for copies in a wider dtype."""
    yield from images.split(max(1, CHUNK_BYTES // max(1, images.shape[1:].numel())))
