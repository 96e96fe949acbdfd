"""One image, its prediction and the maps of a method: every layer, head and token, or one map.

Repainted in the browser.

Letters: L layers, H heads, N tokens with CLS first, C channels.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import Head
from pages.parts.components.component import component, packed

MAX_FINE_VALUES = 2**19  # that are sent with two bytes each, 1.4 MB in base64


class View(NamedTuple):
    """Layer and head, from 0 (or all heads), token (0 is CLS, 1 is p0), and the tokens of masked patches."""

    layer: int
    head: Head
    token: int
    masked: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ValueFormat:
    """How values are formatted and explained."""

    title: str = "Attention"
    unit: str = "attention, × uniform"
    meaning: str = ""  # of a single map's values, after its title
    verbs: tuple[str, str] = ("attends to", "attended by")  # of a row and of a column
    decimals: int = 3
    uniform: float | None = None  # the value of uniform attention; marked on the scale
    uniform_name: str = ""
    signed: bool = False  # a negative value decreases the logit: a diverging color map around 0
    shares: bool = False  # each row sums to 1


@dataclass(frozen=True, eq=False)
class HeadInView:
    """The part sent for a large model: rows of one token in all layers and heads, and the matrix of one head."""

    rows: NDArray[np.float32]  # (L, H, N)
    matrix: NDArray[np.float32]  # (N, N)


@dataclass(frozen=True)
class Probabilities:
    """What the model predicts: a verdict, or two with patches masked, and by class a probability for each."""

    verdicts: list[tuple[str, bool | None]]  # a sentence, and whether the prediction is correct if that is known
    classes: dict[str, list[float]]  # the most probable first


def attention_format(num_tokens: int) -> ValueFormat:
    """The format of attention over `num_tokens` tokens."""
    name = f"uniform 1/{num_tokens}"
    return ValueFormat(decimals=4 if num_tokens > 100 else 3, uniform=1 / num_tokens, uniform_name=name, shares=True)


def inspector(
    image: NDArray[np.uint8],
    values: NDArray[np.float32] | HeadInView,
    view: View,
    *,
    patch_size: int,
    key: str,
    value_format: ValueFormat,
    absolute_max: float,
    title: str = "",
    name: str = "map",
    before: NDArray[np.float32] | HeadInView | None = None,
    before_name: str = "",
    prediction: Probabilities | None = None,
    on_pick: Callable[[View], None] = lambda picked: None,
    on_mask: Callable[[list[int]], None] = lambda masked: None,
) -> None:
    """Draws the inspector.

    `on_pick` is called with the selected layer, head and token before the page is drawn again; `on_mask` with the
    tokens that are masked. Their rows and columns are hatched.

    `image` is (C, H, W) with H = W and C 1 or 3. `values` are attention (L, H, N, N), one row per query token, or one
    map of the image, (N-1,), or the part in view for a large model.
    `before` are the same of an earlier checkpoint, drawn beside them on the same scale. `title` names the image, `name`
    and `before_name` the checkpoints; `prediction` stands above and beside the pictures.

    The absolute scale runs from 0 to `absolute_max`.
    """
    rows = values.rows if isinstance(values, HeadInView) else values
    num_tokens = len(rows) + 1 if rows.ndim == 1 else rows.shape[-1]
    grid = image.shape[-1] // patch_size
    assert image.shape[-1] == image.shape[-2] and grid * grid + 1 == num_tokens, (image.shape, patch_size, rows.shape)
    head = 0 if rows.ndim > 1 and rows.shape[1] == 1 else view.head
    requested = {"layer": view.layer, "head": head, "token": view.token}
    component("inspector")(
        key=key,
        data={
            "key": key,
            "title": title,
            "name": name,  # above the map
            "image": packed(image.transpose(1, 2, 0)),
            "values": _values_data(values, requested),
            "before": None if before is None else _values_data(before, requested),
            "beforeName": before_name,
            "prediction": prediction and asdict(prediction),
            "valueFormat": asdict(value_format),
            "requested": requested,
            "masked": sorted(view.masked),
            "absoluteMax": absolute_max,
        },
        on_picked_change=lambda: on_pick(View(**st.session_state[key].picked)),
        on_masked_change=lambda: on_mask(sorted(st.session_state[key].masked)),
    )


def _values_data(values: NDArray[np.float32] | HeadInView, requested: dict[str, Any]) -> dict[str, Any]:
    """Values as integers with a scale for each row, or one map as float32; of a large model also the head in view."""
    if isinstance(values, HeadInView):
        in_view = _values_data(values.matrix, requested) | requested
        return _values_data(values.rows, requested) | {"inView": in_view}
    if values.ndim == 1:
        return {"values": packed(values.astype(np.float32)), "rowScales": None, "inView": None}
    lines, row_scales = quantized(values)
    return {"values": packed(lines), "rowScales": packed(row_scales), "inView": None}


def quantized(attn: NDArray[np.float32]) -> tuple[NDArray[np.uint16 | np.uint8], NDArray[np.float32]]:
    """(…, N, N) integers and (…, N) so that `integer / highest * scale` restores the row; `highest` is 65535.

    Nearly uniform rows need two bytes a value. Of more than `MAX_FINE_VALUES` values each is one byte, `highest` 255.
    """
    kind = np.uint16 if attn.size <= MAX_FINE_VALUES else np.uint8
    row_scales = attn.max(axis=-1).astype(np.float32)
    largest = np.where(row_scales > 0, row_scales, 1)[..., None]
    return np.nan_to_num(attn / largest * np.iinfo(kind).max).round().astype(kind), row_scales
