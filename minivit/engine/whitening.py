"""Whitened patches: the patch Linear learns in coordinates in which the training patches have unit covariance.

Neighbouring pixels are so alike that a step of the optimiser mostly moves the mean grey of a patch; in whitened
coordinates all directions are as easy to learn. As the map is linear it folds into the weights that are kept.
D embed_dim, P = C·p·p numbers of a patch.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from minivit.data import patches
from minivit.data.memmap import Images, chunks
from minivit.model import MiniViT

FLOOR = 1e-3  # of the mean variance: directions with less are noise and are not blown up further


class Whitening(nn.Module):
    """Weights (D, C, p, p) on whitened patches to the weights on patches that do the same."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, weight: Tensor) -> Tensor:
        return (weight.flatten(1) @ self.matrix).view_as(weight)


def whiten(model: MiniViT, images: Images) -> None:
    """Lets the model's patch Linear learn on patches of `images`, uint8 (N, C, H, W), that are whitened by PCA."""
    matrix = pca_whitening(images, model.config.patch_size, model.mean.cpu(), model.std.cpu())
    parametrize.register_parametrization(model.patch_embed.proj, "weight", Whitening(matrix), unsafe=True)


def pca_whitening(images: Images, patch_size: int, mean: Tensor, std: Tensor) -> Tensor:
    """(P, P) so that `matrix @ (patch - mean patch)` has unit covariance over the images' normalised patches."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks(images):
        flat = patches((chunk.float() / 255 - mean) / std, patch_size).flatten(2).flatten(0, 1).double()
        count, total, products = count + len(flat), total + flat.sum(0), products + flat.T @ flat
    average = total / count
    variances, directions = torch.linalg.eigh(products / count - average.outer(average))
    floor = FLOOR * variances.mean()
    return ((variances.clamp(min=0) + floor).rsqrt()[:, None] * directions.T).float()


def plain_weights(model: MiniViT) -> dict[str, Tensor]:
    """The model's weights as `MiniViT` loads them, whitening folded in."""
    weights = model.state_dict()
    if parametrize.is_parametrized(model.patch_embed.proj):
        inner = [name for name in weights if name.startswith("patch_embed.proj.parametrizations.")]
        weights = {name: value for name, value in weights.items() if name not in inner}
        weights["patch_embed.proj.weight"] = model.patch_embed.proj.weight.detach()
    return weights
