"""Attention of one forward pass, read in the ways the literature reads it. Tensors in, tensors out.

`attn` is the list that `model(images, return_attn=True)` returns: a tensor (B, H, N, N) a layer, rows are queries and
add up to 1. Token 0 is CLS; the patches follow row by row, so a map (B, N-1) is an image of grid × grid patches.
"""

from typing import Literal

import torch
from torch import Tensor

from minivit.errors import ConfigError
from minivit.model import MiniViT
from minivit.predict import as_float

Head = int | Literal["mean", "max"]  # one head, from 0, or the mean or maximum over all


def read_head(text: str) -> Head:
    """A head as people write it: 'mean', 'max' or a number from 1. ConfigError for anything else."""
    if text == "mean":
        return "mean"
    if text == "max":
        return "max"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"There is no head {text!r}. Choose 'mean', 'max' or a number from 1.")
    return int(text) - 1


def write_head(head: Head) -> str:
    """The reverse of `read_head`."""
    return head if isinstance(head, str) else str(head + 1)


def attend(model: MiniViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) and the whole attention (B, L, H, N, N) of images uint8 (B, C, H, W), without gradients."""
    with torch.no_grad():
        logits, attn = model(as_float(images.to(model.mean.device)), return_attn=True)
    return logits.softmax(1), torch.stack(attn, dim=1)


def cls_map(attn: Tensor, heads: Head = "mean") -> Tensor:
    """What CLS looks at in one layer, (B, H, N, N) -> (B, N-1): one head, or the mean or maximum over heads.

    The values are the attention weights themselves; what CLS pays to itself is left out, so they add up to less
    than 1. As in DINO (2104.14294).
    """
    rows = attn[:, :, 0, 1:]
    if heads == "mean":
        return rows.mean(1)
    if heads == "max":
        return rows.amax(1)
    if not isinstance(heads, int) or not 0 <= heads < attn.shape[1]:
        raise ConfigError(f"There is no head {heads!r}. Choose 'mean', 'max' or 0 to {attn.shape[1] - 1}.")
    return rows[:, heads]


def rollout(attn: list[Tensor]) -> Tensor:
    """Attention followed through all layers from CLS to the patches, (B, N-1), as it is, not rescaled.

    R = Â_L ⋯ Â_1 with Â = ½ (mean over heads + I), then R[0, 1:]. Abnar & Zuidema (2005.00928).
    """
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    joint = identity
    for layer in attn:
        joint = (layer.mean(1) + identity) / 2 @ joint
    return joint[:, 0, 1:]


def relevance(model: MiniViT, images: Tensor, classes: Tensor) -> Tensor:
    """What speaks for one class per image, (B, N-1), from images (B, C, H, W) 0..1 and class indices (B,).

    R = I; layer by layer R ← R + ĀR with Ā = mean over heads of (∇A ⊙ A)⁺, clamped before the mean; then R[0, 1:].
    Chefer, Gur & Wolf (2103.15679, equations 5 and 6).
    """
    training = model.training
    model.eval()
    with torch.enable_grad():
        logits, attn = model(images.detach().requires_grad_(), return_attn=True)
        score = logits.gather(1, classes.view(-1, 1).to(logits.device)).sum()
        gradients = torch.autograd.grad(score, attn)
    model.train(training)
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    relevant = identity.expand(len(images), -1, -1)
    for layer, gradient in zip(attn, gradients, strict=True):
        relevant = relevant + (gradient * layer.detach()).clamp(min=0).mean(1) @ relevant
    return relevant[:, 0, 1:]


def distance(attn: Tensor, patch_size: int) -> Tensor:
    """How far each head of one layer looks, in pixels: (B, H, N, N) -> (B, H).

    Mean over the patches i of Σ_j a_ij · ‖position i − position j‖, patches only, each row made to add up to 1.
    Dosovitskiy et al. (2010.11929, figure 7).
    """
    patches = attn[:, :, 1:, 1:]
    patches = patches / patches.sum(-1, keepdim=True)
    grid = round(patches.shape[-1] ** 0.5)
    axis = torch.arange(grid, dtype=attn.dtype, device=attn.device)
    position = torch.cartesian_prod(axis, axis) * patch_size
    return (patches * torch.cdist(position, position)).sum(-1).mean(-1)


def uniform_distance(grid: int, patch_size: int) -> float:
    """What `distance` is for attention spread evenly over grid × grid patches, in pixels."""
    return float(distance(torch.ones(1, 1, grid**2 + 1, grid**2 + 1), patch_size))


def entropy(maps: Tensor) -> Tensor:
    """How evenly a map is spread, (B, n) -> (B,): 1 is uniform, 0 is all on one patch.

    Shannon's entropy of the map made to add up to 1, over ln n.
    """
    shares = maps / maps.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.tensor(float(maps.shape[-1])).log()


def position_similarity(model: MiniViT) -> Tensor:
    """Cosine between the position embeddings of every two patches, (N-1, N-1), -1..1. As in ViT's figure 7."""
    positions = torch.nn.functional.normalize(model.pos_embed.detach()[0, 1:], dim=-1)
    return positions @ positions.T
