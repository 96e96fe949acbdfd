"""Attention of one forward pass as maps over the patches.

`attn` is the list that `model(images, return_attn=True)` returns: one tensor (B, H, N, N) per layer; each row is a
query and sums to 1. Token 0 is CLS; register tokens follow, if the model has any, then n patches row by row, so that a
map (B, n) is an image of grid × grid patches. B images, L layers, H heads, N tokens, D embed_dim. Images are uint8
0..255 or float 0..1, (B, C, H, W).
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.config import ViTConfig
from minivit.data import Images
from minivit.errors import ConfigError
from minivit.inference import as_float, chunks, eval_mode, multiplications
from minivit.model import MiniViT

MAX_BATCH = 64  # larger batches exceed the cache of a CPU
MAX_VALUES = 2e7  # of attention in memory at a time, 4 bytes each
MAX_MULTIPLICATIONS = 3e10  # of one analysis on a page: about a second on one CPU core

Head = int | Literal["mean", "max"]  # one head, from 0, or the mean or maximum over all


def read_head(text: str) -> Head:
    """Parses a head: 'mean', 'max' or a number from 1. ConfigError for anything else."""
    if text in ("mean", "max"):
        return text  # type: ignore[return-value]
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"There is no head {text!r}. Choose 'mean', 'max' or a number from 1.")
    return int(text) - 1


def write_head(head: Head) -> str:
    """The inverse of `read_head`."""
    return head if isinstance(head, str) else str(head + 1)


def head_title(head: Head) -> str:
    """A head in a title: "head 3" or "mean over heads"."""
    return f"{head} over heads" if isinstance(head, str) else f"head {head + 1}"


def select_head(values: Tensor, head: Head, dim: int = 0) -> Tensor:
    """The values of one head, or their mean or maximum over heads, without the dimension `dim` of the heads."""
    if head == "mean":
        return values.mean(dim)
    if head == "max":
        return values.amax(dim)
    num_heads = values.shape[dim]
    if not isinstance(head, int) or not 0 <= head < num_heads:
        raise ConfigError(f"There is no head {head!r}. Choose 'mean', 'max' or 0 to {num_heads - 1}.")
    return values.select(dim, head)


def attend(model: MiniViT, images: Tensor, keep_idx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) and attention of all layers (B, L, H, N, N), without gradients.

    `keep_idx`, int64 (B, n), are the patches to keep; the tokens of the others are dropped.
    """
    with eval_mode(model):
        logits, attn = model(to_model(model, images), return_attn=True, keep_idx=keep_idx)
    return probabilities(model, logits), torch.stack(attn, dim=1)


def attend_masked(model: MiniViT, images: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """`attend` with the patches `masked`, bool (n,), dropped; their rows and columns of the attention are 0."""
    unmasked = (~masked).nonzero()[:, 0]
    probs, attn = attend(model, images, unmasked.expand(len(images), -1))
    tokens = kept_tokens(model.config, unmasked).to(attn.device)
    padded = attn.new_zeros(*attn.shape[:3], model.config.num_tokens, model.config.num_tokens)
    padded[..., tokens[:, None], tokens] = attn
    return probs, padded


def probabilities(model: MiniViT, logits: Tensor) -> Tensor:
    """Probabilities (B, K) of logits (B, K); (B, 0) for a model without a head."""
    return logits.softmax(1)[:, : model.config.num_classes]


def kept_tokens(config: ViTConfig, patches: Tensor) -> Tensor:
    """The indices of the tokens that remain if only `patches`, int64 (n,), are kept, (n + prefix tokens,)."""
    P = config.num_prefix_tokens
    return torch.cat([torch.arange(P, device=patches.device), patches + P])


def without_registers(attn: Tensor, config: ViTConfig) -> Tensor:
    """The rows and columns of CLS and the patches, (…, N, N) -> (…, n + 1, n + 1); registers are left out."""
    if not config.num_registers:
        return attn
    P = config.num_prefix_tokens
    attn = torch.cat([attn[..., :1], attn[..., P:]], dim=-1)
    return torch.cat([attn[..., :1, :], attn[..., P:, :]], dim=-2)


def to_model(model: MiniViT, images: Tensor) -> Tensor:
    """Images as `model` takes them: float 0..1, on its device."""
    return as_float(images.to(model.mean.device))


def cls_map(attn: Tensor, heads: Head = "mean", num_prefix_tokens: int = 1) -> Tensor:
    """Attention of CLS to the patches in one layer, (B, H, N, N) -> (B, n): one head, or mean or maximum over heads.

    The values are the attention weights. The weights of CLS itself and of registers are left out, so they sum to
    less than 1. As in DINO (2104.14294).
    """
    return select_head(attn[:, :, 0, num_prefix_tokens:], heads, dim=1)


def rollout(attn: list[Tensor], num_prefix_tokens: int = 1) -> Tensor:
    """Attention from CLS to the patches through all layers, (B, n), not rescaled.

    R = Â_L ⋯ Â_1 with Â = ½ (mean over heads + I), then R[0, patches]. Abnar & Zuidema (2005.00928).
    """
    identity = torch.eye(attn[0].shape[-1], dtype=attn[0].dtype, device=attn[0].device)
    joint = identity
    for layer in attn:
        joint = (layer.mean(1) + identity) / 2 @ joint
    return joint[:, 0, num_prefix_tokens:]


def uniform_rollout(depth: int, num_tokens: int) -> float:
    """The value of `rollout` at every patch if all attention is uniform: (1 − 2⁻ᴸ) / N."""
    return (1 - 0.5**depth) / num_tokens


def batches(model: MiniViT, images: Images) -> Iterator[Tensor]:
    """Images in batches for which the attention of all layers fits into memory."""
    config = model.config
    values = config.depth * config.num_heads * config.num_tokens**2
    return chunks(images, min(MAX_BATCH, int(MAX_VALUES / values)))


def num_affordable(config: ViTConfig, max_images: int, min_images: int = 8) -> int:
    """The number of images, `min_images` to `max_images`, that a page can analyze without a noticeable wait."""
    return max(min_images, min(max_images, int(MAX_MULTIPLICATIONS / multiplications(config))))


def patch_of_cell(grid: int, cells: int) -> NDArray[np.int32]:
    """The index of the patch that covers each cell, row by row, (cells²,).

    Maps of different patch grids can be subtracted on a common grid of cells × cells, a multiple of both grids.
    """
    along = np.arange(cells) * grid // cells
    return (along[:, None] * grid + along).ravel().astype(np.int32)


def cell_share(grid: int, cells: int) -> float:
    """The share of a patch's attention that each of its cells gets, so that the sum of the map stays the same."""
    return (grid / cells) ** 2


def multiples_of_common_uniform(grid: int, cells: int) -> float:
    """The factor from multiples of a model's uniform 1/N to those of the common grid's, 1 / (cells² + 1).

    1 if both grids are the same.
    """
    return cell_share(grid, cells) * (cells**2 + 1) / (grid**2 + 1)
