"""Attention of one forward pass as maps over the patches.

`attn` is the list that `model(images, return_attn=True)` returns: one tensor (B, H, N, N) per layer; each row is a
query and sums to 1. Token 0 is CLS, the patches follow row by row, so a map (B, N-1) is an image of grid × grid
patches. B images, L layers, H heads, N tokens, D embed_dim. Images are uint8 0..255 or float 0..1, (B, C, H, W).
"""

from typing import Literal

import torch
from torch import Tensor

from minivit.errors import ConfigError
from minivit.inference import as_float, eval_mode
from minivit.model import MiniViT

Head = int | Literal["mean", "max"]  # one head, from 0, or the mean or maximum over all


def read_head(text: str) -> Head:
    """The head that a user or a link names: 'mean', 'max' or a number from 1. ConfigError for anything else."""
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


def attend(model: MiniViT, images: Tensor, keep_idx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) and attention of all layers (B, L, H, N, N), without gradients.

    `keep_idx`, int64 (B, n), are the patches that stay; the tokens of the others are dropped, so that N is n + 1.
    """
    with eval_mode(model):
        logits, attn = model(to_model(model, images), return_attn=True, keep_idx=keep_idx)
    return logits.softmax(1), torch.stack(attn, dim=1)


def attend_masked(model: MiniViT, images: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """The same with the patches `masked`, bool (N-1,), dropped; their rows and columns of the attention are 0."""
    unmasked = (~masked).nonzero()[:, 0]
    probs, attn = attend(model, images, unmasked.expand(len(images), -1))
    tokens = torch.cat([torch.zeros(1, dtype=torch.int64), unmasked + 1]).to(attn.device)
    padded = attn.new_zeros(*attn.shape[:3], len(masked) + 1, len(masked) + 1)
    padded[..., tokens[:, None], tokens] = attn
    return probs, padded


def to_model(model: MiniViT, images: Tensor) -> Tensor:
    """Images as `model` takes them: float 0..1, on its device."""
    return as_float(images.to(model.mean.device))


def cls_map(attn: Tensor, heads: Head = "mean") -> Tensor:
    """Attention of CLS to the patches in one layer, (B, H, N, N) -> (B, N-1): one head, or mean or maximum over heads.

    The values are the attention weights. The weight of CLS itself is left out, so they sum to less than 1. As in
    DINO (2104.14294).
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
    """Attention from CLS to the patches through all layers, (B, N-1), not rescaled.

    R = Â_L ⋯ Â_1 with Â = ½ (mean over heads + I), then R[0, 1:]. Abnar & Zuidema (2005.00928).
    """
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    joint = identity
    for layer in attn:
        joint = (layer.mean(1) + identity) / 2 @ joint
    return joint[:, 0, 1:]


def uniform_rollout(depth: int, num_tokens: int) -> float:
    """The value of `rollout` at every patch if all attention is uniform: (1 − 2⁻ᴸ) / N."""
    return (1 - 0.5**depth) / num_tokens
