"""Small maps and pictures in named rows, on one labeled scale; rows wrap on narrow pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.color_maps import palettes
from pages.parts.components.component import PackedArray, component, packed


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
    marks: Mapping[str, float] | None = None


class TileData(TypedDict):
    """One tile."""

    name: str
    caption: str
    pixels: PackedArray


class RowData(TypedDict):
    """One row of tiles."""

    name: str
    tiles: list[TileData]


class ScaleData(TypedDict):
    """The color scale; `marks` are (value, text)."""

    title: str
    low: float
    high: float
    colors: str
    marks: list[tuple[float, str]]


class TilesData(TypedDict):
    """What `tiles.js` draws."""

    key: str
    label: str
    rows: list[RowData]
    scale: ScaleData | None
    size: int
    choice: bool
    palettes: dict[str, PackedArray]


def tiles(
    rows: Sequence[Row], scale: Scale | None, *, key: str, label: str, size: int = 72, choice: bool = False
) -> None:
    """Draws the rows; `label` is for screen readers; a tile is about `size` pixels wide.

    Pictures alone need no scale. With `choice` the user may switch to the tiles' own scale, with a warning that this
    exaggerates contrast.
    """
    component("tiles", "board")(
        key=key,
        data=TilesData(
            key=key,
            label=label,
            rows=[RowData(name=row.name, tiles=[_tile_data(tile) for tile in row.tiles]) for row in rows],
            scale=_scale_data(scale) if scale else None,
            size=size,
            choice=choice,
            palettes=palettes(),
        ),
    )


def _scale_data(scale: Scale) -> ScaleData:
    return ScaleData(
        title=scale.title,
        low=scale.low,
        high=scale.high,
        colors=scale.colors,
        marks=[(value, text) for text, value in (scale.marks or {}).items()],
    )


def _tile_data(tile: Tile) -> TileData:
    return TileData(name=tile.name, caption=tile.caption, pixels=packed(tile.pixels))
