"""Metrics of attention maps: distance, entropy, divergence, how much a map depends on the image, and mistakes.

For mistakes: where attention is for incorrect predictions, compared with correct ones. B images, H heads, N tokens with
CLS first, the last n are the patches."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.errors import DataError


def distance(attn: Tensor, patch_size: int, num_prefix_tokens: int = 1) -> Tensor:
    """Mean attention distance of each head of one layer in pixels, (B, H, N, N) -> (B, H).

    Mean over the patches i of Σ_j a_ij · ‖position i − position j‖; patches only, each row normalized to sum to 1.
    Dosovitskiy et al. (2010.11929, figure 7).
    """
    patches = attn[:, :, num_prefix_tokens:, num_prefix_tokens:]
    patches = patches / patches.sum(-1, keepdim=True)
    grid = round(patches.shape[-1] ** 0.5)
    axis = torch.arange(grid, dtype=attn.dtype, device=attn.device)
    position = torch.cartesian_prod(axis, axis) * patch_size
    return (patches * torch.cdist(position, position)).sum(-1).mean(-1)


def uniform_distance(grid: int, patch_size: int) -> float:
    """The `distance` of uniform attention over grid × grid patches, in pixels."""
    return float(distance(torch.ones(1, 1, grid**2 + 1, grid**2 + 1), patch_size))


def entropy(maps: Tensor) -> Tensor:
    """Shannon entropy of maps normalized to sum to 1, over ln n: (B, n) -> (B,); 1 is uniform, 0 all on one patch."""
    shares = maps / maps.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.tensor(float(maps.shape[-1])).log()


def divergence(maps_a: Tensor, maps_b: Tensor) -> Tensor:
    """Jensen–Shannon divergence in bits of maps normalized to sum to 1, (B, n) each -> (B,) (Lin 1991).

    0: identical maps; 1: no patch in common. doi 10.1109/18.61115
    """
    a, b = (maps.double() / maps.double().sum(-1, keepdim=True) for maps in (maps_a, maps_b))
    entr = torch.special.entr
    nats = (entr((a + b) / 2) - (entr(a) + entr(b)) / 2).sum(-1)
    return (nats / math.log(2)).clamp(0, 1).to(maps_a.dtype)


def map_agreement(maps: Tensor, others: Tensor) -> Tensor:
    """Pearson correlation of each image's map with the same image's other map, (B, n) twice -> (B,) in -1..1.

    1: the same pattern, 0: unrelated. 0 for a map without any pattern.
    """
    centered = (F.normalize(each.double() - each.double().mean(-1, keepdim=True), dim=-1) for each in (maps, others))
    return torch.stack(list(centered)).prod(0).sum(-1)


def between_image_variation(maps: Tensor) -> float:
    """1 − mean Pearson correlation between the maps (B, n) of every two images: 0 if all have the same pattern.

    Correlation ignores scale, so a nearly uniform map counts as much as a peaked one. An untrained model scores high,
    up to 1 + 1 / (B − 1), although its maps hardly differ; read it together with `image_specific_share`.
    """
    maps = maps.detach().double()
    centered = F.normalize(maps - maps.mean(-1, keepdim=True), dim=-1)
    B = len(maps)
    correlations = centered.sum(0).square().sum() - centered.square().sum()  # sum over all pairs i ≠ j
    return float(1 - correlations / (B * (B - 1)))


def image_specific_share(maps: Tensor) -> float:
    """The image-specific share of maps (B, n), 0..1: total variation distance from the mean map, mean over images.

    ½ Σ_j |p_j − mean p_j| of maps normalized to sum to 1. Unlike `between_image_variation` it measures
    how much attention changes with the image: near 0 for an untrained model.
    """
    shares = maps.detach() / maps.detach().sum(-1, keepdim=True)
    return float(image_specific(shares).abs().sum(-1).mean() / 2)


def image_specific(maps: Tensor) -> Tensor:
    """Maps minus the mean map of all images, signed, (B, n)."""
    return maps - maps.mean(0)


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
