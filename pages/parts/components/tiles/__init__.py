"""Small maps and pictures in named rows, on one labeled scale; rows wrap on narrow pages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isqrt
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import component, packed


class Tile(NamedTuple):
    """A map, float (G, G), painted by the scale; or a picture, uint8 (h, w, C) with C 1 or 3, shown as it is."""

    pixels: NDArray[np.float32] | NDArray[np.uint8]
    name: str = ""  # above it
    caption: str = ""  # below it


class Row(NamedTuple):
    """Tiles that belong together; its name is in front of them."""

    name: str
    tiles: Sequence[Tile]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What colors mean, from `low` to `high`; `marks` are labeled values along it."""

    title: str
    low: float
    high: float
    colors: Literal["magma", "difference", "gray"] = "magma"
    marks: Mapping[str, float] = field(default_factory=dict)


def signed_scale(title: str, limit: float, zero: str = "0") -> Scale:
    """From −limit, blue, to +limit, red, with a mark at zero."""
    return Scale(title=title, low=-limit, high=limit, colors="difference", marks={zero: 0.0})


def map_tiles(values: NDArray[Any], names: Sequence[str], captions: Sequence[str] = ()) -> list[Tile]:
    """Tiles of maps over square grids of patches, (T, n) or as colors (T, n, 3)."""
    grid = isqrt(values.shape[1])
    squares = values.reshape(len(values), grid, grid, *values.shape[2:])
    return list(map(Tile, squares, names, captions or [""] * len(values)))


def tiles(
    rows: Sequence[Row], scale: Scale | None, *, key: str, label: str, size: int = 72, choice: bool = False
) -> None:
    """Draws the rows; `label` is for screen readers; a tile is about `size` pixels wide.

    Pictures alone need no scale. With `choice` the user may switch to the tiles' own scale, with a warning that this
    exaggerates contrast.
    """
    component("tiles", "board")(
        key=key,
        data={
            "key": key,
            "label": label,
            "rows": [
                {"name": row.name, "tiles": [{**tile._asdict(), "pixels": packed(tile.pixels)} for tile in row.tiles]}
                for row in rows
            ],
            "scale": asdict(scale) if scale else None,
            "size": size,
            "choice": choice,
        },
    )
