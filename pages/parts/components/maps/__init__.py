"""Attention maps side by side on one scale: image by image, before and after, with predictions.

Letters: N images, C channels, G patches along a side.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import component, packed


class Caption(NamedTuple):
    """A line under a map: "frog 91%", green with ✓ if correct, red with ✗ if incorrect, plain if None."""

    text: str
    correct: bool | None = None


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
    interactive: bool = True,
) -> dict[str, Any]:
    """What the maps component draws.

    `images` is (N, C, H, W) with C 1 or 3; `columns` names the maps, each (N, G·G), in the order of the
    columns. They share the absolute `scale` (low, high), on which `uniform`, 1 over the number of tokens, is marked;
    `uniform_name` labels it for maps of another `quantity`.
    `titles` has one text per image, `captions` one line per image for some columns. `size` is in pixels. If they are
    `interactive`, they have controls and can be clicked. New data of the same shape is painted in place.
    """
    captions = captions or {}
    return {
        "key": key,
        "images": packed(images.transpose(0, 2, 3, 1)),
        "titles": list(titles),
        "columns": [
            {"name": name, "values": packed(np.asarray(values, np.float32)), "captions": list(captions.get(name, ()))}
            for name, values in columns.items()
        ],
        "scale": list(scale),
        "uniform": uniform,
        "quantity": quantity,
        "uniformName": uniform_name,
        "size": size,
        "interactive": interactive,
    }
