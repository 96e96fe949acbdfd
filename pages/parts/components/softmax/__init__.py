"""One attention weight from the pixels on: a patch as numbers, its token, query times key, softmax.

C channels, p patch size, n patches, N = n + 1 tokens with CLS first, E embed_dim, D dimensions of a head.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention.image_attention import SoftmaxRow
from pages.parts.components.component import component, packed

Stage = Literal["patch", "token", "softmax"]  # the parts, from left to right


def softmax(
    image: NDArray[np.uint8],
    row: SoftmaxRow,
    token_indices: NDArray[np.int64],
    *,
    patch_size: int,
    query: int,
    patch: int,
    title: str,
    scale: tuple[float, float],
    stage: Stage | None,
    key: str,
    on_pick: Callable[[int], None],
) -> None:
    """Draws the calculation for one patch; pointing at another one, or moving there by keys, shows that one's.

    `image` is (C, H, W). `token_indices` (N,) are those of CLS and the patches in `row`, which has register tokens too.
    `query` is the token whose row it is, in this numbering, and `patch` the one that the drawing starts with, from 0;
    `title` names layer and head. `scale` (low, high) is that of the colors. A `stage` is framed.
    `on_pick` is called with a patch that was clicked.
    """
    component("softmax")(
        key=key,
        data={
            "image": packed(image.transpose(1, 2, 0)),
            "patchSize": patch_size,
            "tokens": packed(row.tokens[token_indices].numpy()),
            "query": packed(row.query.numpy()),
            "keys": packed(row.keys[token_indices].numpy()),
            "scores": packed(row.scores[token_indices].numpy()),
            "weights": packed(row.weights[token_indices].numpy()),
            "total": float(row.scores.double().exp().sum()),
            "numTokens": len(row.scores),
            "queryToken": query,
            "patch": patch,
            "title": title,
            "scale": list(scale),
            "stage": stage,
        },
        on_picked_change=lambda: on_pick(int(st.session_state[key].picked)),
    )
