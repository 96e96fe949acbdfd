"""Where attention is for incorrect predictions, compared with correct ones. B images, P patches."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from minivit.errors import DataError


class RingMass(NamedTuple):
    """Shares of a map's mass (B,), and the same shares of a uniform map."""

    ring: Tensor  # the outermost patches
    middle: Tensor  # the middle half of rows and columns
    uniform_ring: float
    uniform_middle: float


def ring_mass(maps: Tensor) -> RingMass:
    """How much of a map (B, P) lies on the outer ring of patches and in the middle; only values above 0 count."""
    grid = math.isqrt(maps.shape[-1])
    axis = torch.arange(grid, device=maps.device)
    to_border = torch.minimum(axis, axis.flip(0))  # patches between this one and the border
    depth = torch.minimum(to_border[:, None], to_border).flatten()
    ring, middle = (depth == 0).to(maps), (depth >= grid // 4).to(maps)
    mass = maps.clamp(min=0)
    mass = mass / mass.sum(-1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    return RingMass(mass @ ring, mass @ middle, float(ring.mean()), float(middle.mean()))


def mistakes_minus_correct(maps: Tensor, labels: Tensor, predicted: Tensor, true: int, mistaken: int) -> Tensor:
    """Mean map of the images of class `true` predicted as `mistaken`, minus that of the correct ones, signed (P,).

    Maps (B, P), labels and predicted classes (B,). DataError if either group has no image.
    """

    def mean(prediction: int, group: str) -> Tensor:
        in_group = (labels == true) & (predicted == prediction)
        if not in_group.any():
            raise DataError(f"This cell has no {group} image. Choose another cell or epoch.")
        return maps[in_group.to(maps.device)].mean(0)

    return mean(mistaken, "incorrect") - mean(true, "correct")


def mistakes_scale(maps: Tensor, labels: Tensor, predicted: Tensor, min_mistakes: int) -> float:
    """The largest absolute value of `mistakes_minus_correct` over all cells, so that they share one scale.

    Cells with fewer than `min_mistakes` images have noisy means and count only if no cell has as many; 0 without cells.
    """
    known = labels >= 0  # the others belong to no class of the model
    cells, row, size = torch.stack([labels, predicted])[:, known].unique(dim=1, return_inverse=True, return_counts=True)
    means = torch.zeros(len(size), maps.shape[1]).index_add_(0, row, maps[known.to(maps.device)].float().cpu())
    means /= size[:, None]
    pairs = cells.T.tolist()
    correct = {true: mean for (true, prediction), mean in zip(pairs, means, strict=True) if true == prediction}
    maxima = [
        (int(count), float((mean - correct[true]).abs().max()))
        for (true, prediction), mean, count in zip(pairs, means, size, strict=True)
        if true != prediction and true in correct
    ]
    reliable = [maximum for count, maximum in maxima if count >= min_mistakes]
    return max(reliable or [maximum for _, maximum in maxima], default=0.0)
