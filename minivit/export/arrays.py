"""One image's attention as the article's JSON, or everything about the image as NumPy arrays.

L layers, H heads, N tokens (CLS first), K classes, C channels.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
from torch import Tensor


def tokens(num_patches: int) -> list[str]:
    """The names of the tokens, as in the article: [CLS], p0, p1, …"""
    return ["[CLS]", *(f"p{index}" for index in range(num_patches))]


def article_json(attn: Tensor) -> str:
    """The article's JSON of one attention matrix (N, N): {"tokens": ["[CLS]", "p0", …], "attentions": N × N}."""
    return json.dumps({"tokens": tokens(len(attn) - 1), "attentions": attn.tolist()})


def attention_npz(
    attn: Tensor, probs: Tensor, image: Tensor, *, label: int, classes: Sequence[str], **about: str | int
) -> bytes:
    """Everything about one image as a compressed `.npz` that `np.load(file, allow_pickle=False)` reads.

    `attn` (L, H, N, N) and `probs` (K,) float32, `image` uint8 (C, H, W), `tokens` (N,) and `classes` (K,) text,
    `label` the true class, -1 if it is unknown; `about` is where the image comes from, such as
    `run="…", epoch=3, number=12`.
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
