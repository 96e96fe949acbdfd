"""Attention maps side by side on one scale: image by image, before and after, with predictions.

Letters: N images, C channels, G patches along a side.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import PackedArray, component, packed


class Caption(NamedTuple):
    """A line under a map: "frog 91%", green with ✓ if correct, red with ✗ if incorrect, plain if None."""

    text: str
    correct: bool | None = None


class ColumnData(TypedDict):
    """One column of maps, float32 (N, G·G), with a caption, [text, correct], under some of them."""

    name: str
    values: PackedArray
    captions: list[list[Any]]


class MapsData(TypedDict):
    """What `maps.js` draws."""

    key: str
    images: PackedArray  # uint8 (N, h, w, C)
    titles: list[str]
    columns: list[ColumnData]
    scale: list[float]
    uniform: float
    quantity: str
    uniformName: str
    size: int
    controls: bool
    clickable: bool


def maps(images: NDArray[np.uint8], columns: Mapping[str, NDArray[np.float32]], *, key: str, **how: Any) -> int | None:
    """Draws the maps that `maps_data` describes; returns the index of a clicked image, or None."""
    mount = component("maps", "board")
    result = mount(key=key, data=maps_data(images, columns, key=key, **how), on_opened_change=lambda: None)
    return int(result.opened) if result.opened is not None else None


def maps_data(
    images: NDArray[np.uint8],
    columns: Mapping[str, NDArray[np.float32]],
    *,
    key: str,
    scale: tuple[float, float],
    uniform: float,
    quantity: str = "Attention",
    uniform_name: str = "",
    titles: Sequence[str] = (),
    captions: Mapping[str, Sequence[Caption]] | None = None,
    size: int = 96,
    controls: bool = True,
    clickable: bool = True,
) -> MapsData:
    """What the maps component draws.

    `images` is (N, C, H, W) with C 1 or 3; `columns` names the maps, each (N, G·G), in the order of the
    columns. They share the absolute `scale` (low, high), on which `uniform`, 1 over the number of tokens, is marked;
    `uniform_name` labels it for maps of another `quantity`.
    `titles` has one text per image, `captions` one line per image for some columns. `size` is in pixels. New data of
    the same shape is painted in place.
    """
    return MapsData(
        key=key,
        images=packed(images.transpose(0, 2, 3, 1)),
        titles=list(titles),
        columns=[
            ColumnData(
                name=name,
                values=packed(np.asarray(values, np.float32)),
                captions=[list(caption) for caption in (captions or {}).get(name, ())],
            )
            for name, values in columns.items()
        ],
        scale=list(scale),
        uniform=uniform,
        quantity=quantity,
        uniformName=uniform_name,
        size=size,
        controls=controls,
        clickable=clickable,
    )
