"""The one form that all images take: a uint8 batch, its labels and the names of its classes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minivit.data.memmap import Images, MappedImages, chunks, memory_limit
from minivit.errors import DataError

Progress = Callable[[str, int, int], None]  # what is going on, done, total


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels. `images, labels, classes = image_set` takes it apart."""

    images: Images  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,), index into classes
    classes: tuple[str, ...]
    masks: Images | None = None  # bool (N, H, W), the object, where it is known
    skipped: tuple[str, ...] = ()  # files that could not be decoded, "path: reason"

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.labels, self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """The images of these indices, in their order; classes and `skipped` stay whole."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        masks = None if self.masks is None else _select(self.masks, rows)
        return replace(self, images=_select(self.images, rows), labels=self.labels[rows], masks=masks)

    def pick(self, number: int) -> "ImageSet":
        """One image by its number, as a set of one; DataError where there is no such number."""
        if not 0 <= number < len(self):
            raise DataError(f"There is no image {number}; choose 0 to {len(self) - 1}.")
        return self.select([number])

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class."""
        numbers = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, numbers, strict=True))

    def fingerprint(self) -> str:
        """sha256 of images, labels and classes, in hex: the same data give the same one on every machine."""
        digest = hashlib.sha256(json.dumps([list(self.images.shape), self.classes]).encode())
        for values in (self.images, self.labels):
            for chunk in chunks(values):
                digest.update(chunk.cpu().contiguous().numpy().data)
        return digest.hexdigest()


class ClassImages(NamedTuple):
    """The images of one class, before they are put together."""

    images: Tensor  # uint8 (n, C, H, W)
    masks: Tensor | None = None  # bool (n, H, W)
    skipped: tuple[str, ...] = ()


def join(parts: Mapping[str, ClassImages], classes: Sequence[str]) -> ImageSet:
    """The classes of `parts` one after another, labelled by their places in `classes`.

    Images that take more than `memory_limit()` stay in the files that they are mapped from.
    """
    images = [part.images for part in parts.values()]
    masks = [part.masks for part in parts.values() if part.masks is not None]
    labels = [torch.full((len(part.images),), classes.index(name)) for name, part in parts.items()]
    together = MappedImages if sum(part.nbytes for part in images) > memory_limit() else torch.cat
    return ImageSet(
        images=together(images),
        labels=torch.cat(labels),
        classes=tuple(classes),
        masks=together(masks) if len(masks) == len(parts) else None,
        skipped=tuple(line for part in parts.values() for line in part.skipped),
    )


def _select(images: Images, rows: Tensor) -> Images:
    return images.select(rows) if isinstance(images, MappedImages) else images[rows]


def evenly_spaced(num_images: int, count: int) -> list[int]:
    """At most `count` indices at equal distances over 0 … num_images - 1: test images come class by class."""
    return sorted({int(index) for index in np.linspace(0, num_images - 1, count)})
