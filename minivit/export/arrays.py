"""One image's attention as numbers: the article's JSON, and everything about the image as NumPy arrays.

L layers, H heads, N tokens (CLS first), K classes, C channels.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from minivit.attention import Head, write_head
from minivit.errors import ConfigError


def tokens(num_patches: int) -> list[str]:
    """The tokens' names, as in the article: [CLS], p0, p1, …"""
    return ["[CLS]", *(f"p{index}" for index in range(num_patches))]


def one_head(attn: Tensor, layer: int, head: Head) -> Tensor:
    """One layer's attention by one head, or the mean or maximum over its heads: (L, H, N, N) -> (N, N).

    Layer and head count from 0. Raises ConfigError where there is no such layer or head.
    """
    num_layers, num_heads = attn.shape[:2]
    if not 0 <= layer < num_layers:
        raise ConfigError(f"There is no layer {layer + 1}; the model has {num_layers}. Choose 1 to {num_layers}.")
    if head == "mean":
        return attn[layer].mean(0)
    if head == "max":
        return attn[layer].amax(0)
    if not isinstance(head, int) or not 0 <= head < num_heads:
        raise ConfigError(f"There is no head {write_head(head)}. Choose 1 to {num_heads}, 'mean' or 'max'.")
    return attn[layer, head]


def article_json(attn: Tensor) -> str:
    """The article's JSON of one attention matrix (N, N): {"tokens": ["[CLS]", "p0", …], "attentions": N × N}."""
    return json.dumps({"tokens": tokens(len(attn) - 1), "attentions": attn.tolist()})


def attention_npz(
    attn: Tensor, probs: Tensor, image: Tensor, *, label: int, classes: Sequence[str], **about: str | int
) -> bytes:
    """All of one image as a compressed `.npz` that `np.load(file, allow_pickle=False)` reads.

    `attn` (L, H, N, N) and `probs` (K,) float32, `image` uint8 (C, H, W), `tokens` (N,) and `classes` (K,) text,
    `label` the true class; `about` says where it comes from, such as `run="…", epoch=3, number=12`.
    """
    arrays = {
        "attn": attn.numpy(),
        "probs": probs.numpy(),
        "image": image.numpy(),
        "label": np.array(label),
        "tokens": np.array(tokens(attn.shape[-1] - 1)),
        "classes": np.array(list(classes)),
        **{name: np.array(value) for name, value in about.items()},
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
