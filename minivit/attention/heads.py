"""Filters of the patch embedding of one checkpoint, and what each head does over many images.

Tensors in, arrays and tensors out. L layers, H heads, D embed_dim, N tokens with CLS first, n patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import (
    TERMS,
    attend,
    cls_map,
    distance,
    position_content,
    rollout,
    term_shares,
    to_model,
)
from minivit.config import ViTConfig
from minivit.inference import eval_mode
from minivit.model import MiniViT

MAX_COMPONENTS = 28  # as many as ViT's figure shows
MAX_MULTIPLICATIONS = 4e10  # of one look at many images: a second or two of a CPU core
MAX_VALUES = 2e7  # of attention that are in memory at once, 4 bytes each


def filter_components(weight: Tensor, most: int = MAX_COMPONENTS) -> tuple[Tensor, Tensor]:
    """Principal components of patch filters (D, C, p, p): (n, C, p, p), each of length 1, and their shares (n,).

    The D filters are points of C·p·p numbers. The components are the eigenvectors of their covariance, those that
    explain most first; a share is an eigenvalue over the sum of all, 0..1. As in ViT's figure 7, left (2010.11929). At
    most D − 1 points of a covariance differ, so n is at most that, C·p·p and `most`. A component has no sign of its
    own: here its largest number is positive.
    """
    points = weight.detach().double().flatten(1)
    _, scales, components = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    num = min(most, points.shape[0] - 1, points.shape[1])
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    shares = scales.square() / scales.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return (components * largest.sign())[:num].unflatten(1, weight.shape[1:]).float(), shares[:num].float()


def affordable(config: ViTConfig, most: int) -> int:
    """How many images, 8 to `most`, a look into a model of this shape can take without holding a person up."""
    N, D = config.num_patches + 1, config.embed_dim
    a_layer = N * D * ((4 + 2 * config.mlp_ratio) * D + 2 * N)  # projections and feed-forward, and attention
    return max(8, min(most, int(MAX_MULTIPLICATIONS / (config.depth * a_layer))))


def _batches(model: MiniViT, images: Tensor) -> Sequence[Tensor]:
    """Images in parts of which the attention of all layers fits into memory with ease."""
    config = model.config
    values = config.depth * config.num_heads * (config.num_patches + 1) ** 2
    return images.split(max(1, int(MAX_VALUES / values)))


@dataclass(frozen=True)
class Survey:
    """The heads of a model, mean over images: attention distance in pixels (L, H), and CLS maps (L, H, n)."""

    distance: NDArray[np.float32]
    cls_maps: NDArray[np.float32]


def survey(model: MiniViT, images: Tensor) -> Survey:
    """How far each head looks, and where CLS looks with it, over images (B, C, H, W)."""
    L, H, device = model.config.depth, model.config.num_heads, model.mean.device
    far, maps = torch.zeros(L, H, device=device), torch.zeros(L, H, model.config.num_patches, device=device)
    with eval_mode(model):
        for batch in _batches(model, images):
            _, layers = model(to_model(model, batch), return_attn=True)
            for layer, attn in enumerate(layers):
                far[layer] += distance(attn, model.config.patch_size).sum(0) / len(images)
                maps[layer] += attn[:, :, 0, 1:].sum(0) / len(images)
    return Survey(far.cpu().numpy(), maps.cpu().numpy())


def overlay_maps(model: MiniViT, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (B, K) and the rollout from CLS (B, n); at depth 1, where it says no more, the mean CLS map."""
    probs, maps = [], []
    for batch in _batches(model, images):
        said, attn = attend(model, batch)
        layers = list(attn.unbind(1))
        probs.append(said)
        maps.append(cls_map(layers[0]) if len(layers) == 1 else rollout(layers))
    return torch.cat(probs).cpu().numpy(), torch.cat(maps).cpu().numpy()


def uniform_overlay(config: ViTConfig) -> float:
    """What `overlay_maps` are where all attention is uniform: (1 − 2⁻ᴸ) / N of a rollout, 1 / N of a CLS map."""
    kept = 1.0 if config.depth == 1 else 1 - 0.5**config.depth
    return kept / (config.num_patches + 1)


@dataclass(frozen=True)
class ClsTerms:
    """The scores of layer 1 by which CLS weighs the tokens, in the four `TERMS`, over B images.

    `maps` (B, H, 4, n) are the terms of each patch less their mean over all tokens, which softmax ignores: a score
    higher by 1 gets e times the attention. `shares` (H, 4) say how much of the scores' variance over the tokens each
    term makes up, pooled over the images, and `deviation` (H,) is its root. `peak` (H,) is the strongest patch's
    attention over the mean patch's, mean over the images: 1 is uniform, n all on one.
    """

    maps: NDArray[np.float32]
    shares: NDArray[np.float32]
    deviation: NDArray[np.float32]
    peak: NDArray[np.float32]

    @property
    def place_share(self) -> NDArray[np.float32]:
        """How much of the variance the terms with the position of the key make up, (H,)."""
        return self.shares[:, [TERMS.index("content–position"), TERMS.index("position–position")]].sum(1)


def cls_terms(model: MiniViT, images: Tensor) -> ClsTerms:
    """CLS's scores in layer 1 taken patch_mosaic, of images (B, C, H, W)."""
    batches = [position_content(model, batch)[..., 0, :] for batch in _batches(model, images)]
    terms = torch.cat(batches)  # (B, H, 4, N)
    centred = terms - terms.mean(-1, keepdim=True)
    scores = centred.sum(2)  # (B, H, N)
    patches = scores[..., 1:]
    return ClsTerms(
        maps=centred[..., 1:].cpu().numpy(),
        shares=term_shares(terms.permute(1, 2, 0, 3)[None])[0].cpu().numpy(),
        deviation=scores.square().mean((0, 2)).sqrt().cpu().numpy(),
        peak=(patches.softmax(-1).amax(-1).mean(0) * patches.shape[-1]).cpu().numpy(),
    )
