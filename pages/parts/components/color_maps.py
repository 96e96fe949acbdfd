"""Color tables for the browser components."""

from functools import cache

from minivit.figures import COLORMAPS, colormap
from pages.parts.components.component import PackedArray, packed


@cache
def palettes() -> dict[str, PackedArray]:
    """Those of `COLORMAPS` by name, and `difference`: blue (less) over white (0) to red (more)."""
    tables = {name: packed(colormap(name)) for name in COLORMAPS}
    return tables | {"difference": packed(colormap("RdBu")[::-1])}
