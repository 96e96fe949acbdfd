"""Color tables as the browser components paint with them."""

from functools import cache

from minivit.figures import colormap
from pages.parts.components.component import PackedArray, packed

SEQUENTIAL = ("magma", "viridis", "jet")


@cache
def palettes() -> dict[str, PackedArray]:
    """The sequential tables by name, and `difference`: blue (less) over white (0) to red (more)."""
    tables = {name: packed(colormap(name)) for name in SEQUENTIAL}
    return tables | {"difference": packed(colormap("RdBu")[::-1])}
