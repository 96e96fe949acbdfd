"""One image and the whole of its attention: every layer, head and token, repainted in the browser.

Letters: L layers, H heads, N tokens with CLS first, C channels.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.parts.component import component, packed
from pages.parts.palette import SEQUENTIAL, palettes

Head = int | Literal["mean", "max"]


class Picked(NamedTuple):
    """What was picked last: a layer from 0, a head from 0 (or all heads), a token (0 is CLS, 1 is p0)."""

    layer: int
    head: Head
    token: int


def inspector(
    image: NDArray[np.uint8],
    attn: NDArray[np.float32],
    *,
    patch_size: int,
    layer: int,
    head: Head,
    token: int,
    key: str,
    title: str = "",
    scale: Literal["absolute", "own"] = "absolute",
    absolute_max: float | None = None,
    colormap: str = "magma",
    overlay: float = 0.6,
    on_pick: Callable[[Picked], None] = lambda picked: None,
) -> Picked | None:
    """Draws the inspector; returns what was picked in it just now, or None.

    `on_pick` is called with it before the page is drawn again, so that `layer`, `head` and `token` can be the pick's.

    `image` is (C, H, W) with H = W and C 1 or 3; `attn` is (L, H, N, N), each row the attention of one query token.
    A layer, head or token that this model does not have is clipped to one that it has. `title` names the image.

    The absolute scale runs from 0 to `absolute_max`. By default 99 % of the CLS attention of this image stays below it,
    and it is at least four times the uniform value 1/N: nearly uniform attention looks uniform, and one sharp head does
    not turn all others black; the legend says where it cuts. `scale`, `colormap` and `overlay` (0..1) are where the
    controls start; afterwards they belong to the person at the browser.
    """
    num_layers, num_heads, num_tokens, _ = attn.shape
    grid = image.shape[-1] // patch_size
    assert image.shape[-1] == image.shape[-2] and grid * grid + 1 == num_tokens, (image.shape, patch_size, attn.shape)
    assert colormap in SEQUENTIAL, colormap
    cls_attn = np.nan_to_num(attn[:, :, 0, 1:])
    if absolute_max is None:
        absolute_max = max(4 / num_tokens, float(np.quantile(cls_attn, 0.99, method="higher")))
    values, row_scales = quantised(attn)
    result = component("inspector")(
        key=key,
        data={
            "key": key,
            "title": title,
            "image": packed(image.transpose(1, 2, 0)),
            "attn": packed(values),
            "rowScales": packed(row_scales),
            "asked": _within(Picked(layer, head, token), num_layers, num_heads, num_tokens)._asdict(),
            "start": {"scale": scale, "colormap": colormap, "overlay": overlay},
            "absoluteMax": absolute_max,
            "highest": max(absolute_max, float(cls_attn.max())),
            "palettes": palettes(),
        },
        on_picked_change=lambda: on_pick(Picked(**st.session_state[key].picked)),
    )
    return Picked(**result.picked) if result.picked else None


def quantised(attn: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(…, N, N) uint8 and (…, N) so that `uint8 / 255 * scale` is the row again, to 1/510 of its largest value."""
    row_scales = attn.max(axis=-1).astype(np.float32)
    largest = np.where(row_scales > 0, row_scales, 1)[..., None]
    return np.nan_to_num(attn / largest * 255).round().astype(np.uint8), row_scales


def _within(picked: Picked, num_layers: int, num_heads: int, num_tokens: int) -> Picked:
    head: Head = picked.head
    if num_heads == 1:
        head = 0
    elif isinstance(head, int):
        head = min(max(head, 0), num_heads - 1)
    return Picked(min(max(picked.layer, 0), num_layers - 1), head, min(max(picked.token, 0), num_tokens - 1))
