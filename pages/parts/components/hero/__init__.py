"""One image, its patches, and its attention untrained and trained, on one scale; training plays once.

F checkpoints, C channels, G patches along a side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import component, packed


def hero(
    image: NDArray[np.uint8],
    maps: NDArray[np.float32],
    *,
    key: str,
    title: str,
    checkpoints: Sequence[str],
    scale: tuple[float, float],
    uniform: float,
) -> None:
    """Draws the four pictures.

    `image` is (C, H, W) with C 1 or 3 and called `title`; `maps` (F, G·G) are its maps at the `checkpoints`, the
    untrained first, on the absolute `scale` (low, high), on which `uniform` is marked. Where the user prefers reduced
    motion, the last one is shown at once.
    """
    component("hero")(
        key=key,
        data={
            "title": title,
            "image": packed(image.transpose(1, 2, 0)),
            "maps": packed(maps.astype(np.float32)),
            "checkpoints": list(checkpoints),
            "scale": list(scale),
            "uniform": uniform,
        },
    )
