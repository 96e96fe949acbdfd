"""Images as one uint8 batch with labels and class names, whatever data set they come from.

Images stay on disk if they are too large for the memory: a data set with a split of more than `memory_limit()` bytes is
never read completely: its cache files are memory-mapped, and only the indexed images are copied. Smaller ones are read
once into one tensor."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.config import Preprocessing
from minivit.errors import DataError

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
        self.dtype = parts[0].dtype
        self.device = parts[0].device
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
            part = self.parts[index]
            where = (part_of == index).nonzero().flatten()
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


Progress = Callable[[str, int, int], None]  # activity, done, total


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Which images of a data set to read, and in which form."""

    split: str  # "train" or "test"
    classes: tuple[str, ...]
    img_size: int
    in_chans: int
    images_per_class: int = 0  # the first n of each class, 0 all
    data_dir: str | Path = ""
    preprocessing: Preprocessing | None = None
    drawing: int = 2  # of synthetic shapes
    max_bytes: int | None = None  # of a folder's images in memory, if less than `memory_limit()`


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels. `images, labels, classes = image_set` unpacks it."""

    images: Images  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,), index into classes
    classes: tuple[str, ...]
    masks: Images | None = None  # bool (N, H, W), the object, if it is known
    skipped: tuple[str, ...] = ()  # files that could not be decoded, "path: reason"

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.labels, self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """The images at these indices, in their order; `classes` and `skipped` stay as they are."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        masks = None if self.masks is None else _select(self.masks, rows)
        return replace(self, images=_select(self.images, rows), labels=self.labels[rows], masks=masks)

    def pick(self, index: int) -> "ImageSet":
        """The image at `index`, as a set of one image; DataError if there is none."""
        if not 0 <= index < len(self):
            raise DataError(f"There is no image {index}; choose 0 to {len(self) - 1}.")
        return self.select([index])

    @property
    def counts(self) -> dict[str, int]:
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    def fingerprint(self) -> str:
        """SHA-256 of images, labels and classes, in hex; equal data have equal fingerprints on every machine."""
        digest = hashlib.sha256(json.dumps([list(self.images.shape), self.classes]).encode())
        for values in (self.images, self.labels):
            for chunk in row_chunks(values):
                digest.update(chunk.cpu().contiguous().numpy().data)
        return digest.hexdigest()


class ClassImages(NamedTuple):
    """The images of one class, before the classes are joined."""

    images: Tensor  # uint8 (n, C, H, W)
    masks: Tensor | None = None  # bool (n, H, W)
    skipped: tuple[str, ...] = ()


def concatenate_classes(
    parts: Mapping[str, ClassImages], classes: Sequence[str], max_bytes: int | None = None
) -> ImageSet:
    """The classes in `parts` one after another, labeled by their index in `classes`.

    Images that take more than `max_bytes`, by default `memory_limit()`, stay in the files that they are mapped from.
    """
    images = [part.images for part in parts.values()]
    masks = [part.masks for part in parts.values() if part.masks is not None]
    labels = [torch.full((len(part.images),), classes.index(name)) for name, part in parts.items()]
    limit = memory_limit() if max_bytes is None else min(max_bytes, memory_limit())
    concatenate = MappedImages if sum(part.nbytes for part in images) > limit else torch.cat
    return ImageSet(
        images=concatenate(images),
        labels=torch.cat(labels),
        classes=tuple(classes),
        masks=concatenate(masks) if len(masks) == len(parts) else None,
        skipped=tuple(line for part in parts.values() for line in part.skipped),
    )


def _select(images: Images, rows: Tensor) -> Images:
    return images.select(rows) if isinstance(images, MappedImages) else images.index_select(0, rows)


def evenly_by_class(labels: Tensor, count: int) -> list[int]:
    """At most `count` indices, sorted, equally many of each class where possible, evenly spaced within the class."""
    indices: list[int] = []
    by_class = [(labels == label).nonzero().flatten() for label in labels.unique()]
    for left, of_class in zip(range(len(by_class), 0, -1), sorted(by_class, key=len), strict=True):
        quota = min(len(of_class), (count - len(indices)) // left)
        indices += of_class[evenly_spaced(len(of_class), quota)].tolist()
    return sorted(indices)


def evenly_spaced(num_images: int, count: int) -> list[int]:
    """At most `count` indices, evenly spaced over 0 … num_images - 1, as test images are sorted by class."""
    return sorted({int(index) for index in np.linspace(0, num_images - 1, count)})
