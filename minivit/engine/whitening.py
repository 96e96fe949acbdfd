"""Patch whitening: the patch embedding learns in coordinates in which the training patches have unit covariance.

Neighboring pixels are so similar that an optimizer step mostly changes the mean gray of a patch; in whitened
coordinates all directions are equally easy to learn. The map is linear, so it is folded into the saved weights.
D embed_dim, P = C·p·p values of a patch.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from minivit.data import ImageSet, evenly_spaced, patches
from minivit.data.image_set import Images, row_chunks
from minivit.model import MiniViT

MAX_PATCHES = 2**18  # that are measured; all 2**20 of CIFAR-10's four classes took 0.4 s longer and learned no better
MIN_VARIANCE = 1e-3  # of the mean variance; directions with less are noise and are not amplified further


class Whitening(nn.Module):
    """Weights (D, C, p, p) for whitened patches to the equivalent weights for patches."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, weight: Tensor) -> Tensor:
        return (weight.flatten(1) @ self.matrix).view_as(weight)


def whiten(model: MiniViT, image_set: ImageSet, *, keep_weights: bool = False) -> None:
    """Makes the patch embedding learn on patches whitened by PCA of those in `image_set`, at most `MAX_PATCHES`.

    Its weights are then those for whitened patches; with `keep_weights` they are converted, so that the model computes
    the same as before, up to rounding.
    """
    rows = evenly_spaced(len(image_set), MAX_PATCHES // model.config.num_patches)
    images = image_set.select(rows).images
    matrix = pca_whitening(images, model.config.patch_size, model.std.cpu())
    if keep_weights:
        weight = model.patch_embed.proj.weight.data
        converted = torch.linalg.solve(matrix.double(), weight.flatten(1).double(), left=False)
        weight.copy_(converted.view_as(weight))
    add_whitening(model, matrix)


def add_whitening(model: MiniViT, matrix: Tensor) -> None:
    """Makes the patch embedding learn on patches multiplied by `matrix` (P, P)."""
    parametrize.register_parametrization(model.patch_embed.proj, "weight", Whitening(matrix), unsafe=True)


def pca_whitening(images: Images, patch_size: int, std: Tensor) -> Tensor:
    """(P, P) such that `matrix @ (patch - mean patch)` has unit covariance over the images' normalized patches."""
    num_patches = 0
    total = torch.zeros(())
    products = torch.zeros(())
    for chunk in row_chunks(images):
        flat = patches(chunk, patch_size).flatten(2).flatten(0, 1).double()  # 0..255, so that these sums are exact
        num_patches += len(flat)
        total = total + flat.sum(0)
        products = products + flat.T @ flat
    mean_patch = total / num_patches
    scale = 255 * std.double().expand(-1, patch_size, patch_size).flatten()
    covariance = (products / num_patches - mean_patch.outer(mean_patch)) / scale.outer(scale)
    variances, directions = torch.linalg.eigh(covariance)
    floor = MIN_VARIANCE * variances.mean()
    return ((variances.clamp(min=0) + floor).rsqrt()[:, None] * directions.T).float()


def unwhitened_state_dict(model: MiniViT) -> dict[str, Tensor]:
    """The model's weights as `MiniViT` loads them, whitening folded in."""
    weights = model.state_dict()
    if parametrize.is_parametrized(model.patch_embed.proj):
        prefix = "patch_embed.proj.parametrizations."
        weights = {name: value for name, value in weights.items() if not name.startswith(prefix)}
        weights["patch_embed.proj.weight"] = model.patch_embed.proj.weight.detach()
    return weights
