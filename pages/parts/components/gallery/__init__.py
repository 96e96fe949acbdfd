"""Images as small buttons to choose from, with the article's titles: `T: frog`, and `P: cat` in green or red."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from streamlit import runtime

from minivit.figures import color_indices
from pages.parts.components.component import component, packed


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """The text below one image; without a prediction only its class."""

    index: int  # returned for a click
    true: str
    predicted: str | None = None
    correct: bool | None = None
    note: str = ""  # such as "61%"


class HoverMaps(NamedTuple):
    """Attention maps that cover the image under the pointer or with the focus, on one scale."""

    maps: NDArray[np.float32]  # (N, n), as for N images of n patches
    scale: tuple[float, float]
    uniform: float  # the value to mark on the scale


def gallery(
    images: NDArray[np.uint8],
    titles: Sequence[GalleryItem],
    *,
    key: str,
    label: str,
    selected: int | None = None,
    size: int = 72,
    hover: HoverMaps | None = None,
) -> int | None:
    """Draws `images`, (N, C, H, W) with C 1 or 3; returns a clicked image's `GalleryItem.index` in the next rerun.

    `label` is for screen readers; `selected` is the index to mark. An image is scaled by an integer to at most `size`
    screen pixels; larger ones are scaled down. Draws nothing if there are no images.
    """
    assert len(images) == len(titles), (len(images), len(titles))
    if not len(images):
        return None
    images = _scaled_down(images, size)
    _, _, height, width = images.shape
    zoom = max(1, size // max(height, width))
    columns = ceil(sqrt(len(images)))
    result = component("gallery")(
        key=key,
        data={
            "sheet": _url(_sheet(images.tobytes(), images.shape, columns), key),
            "columns": columns,
            "rows": ceil(len(images) / columns),
            "width": width * zoom,
            "height": height * zoom,
            "label": label,
            "selected": selected,
            "titles": [asdict(title) for title in titles],
            "hover": hover and {**hover._asdict(), "maps": packed(_colors(hover))},
        },
        on_picked_change=lambda: None,
    )
    return None if result.picked is None else int(result.picked)


def _colors(hover: HoverMaps) -> NDArray[np.uint8]:
    """The maps as indices of colors."""
    return color_indices(hover.maps, hover.scale).astype(np.uint8)


def _scaled_down(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square images of at most `size` pixels, averaged over areas."""
    if images.shape[-1] <= size:
        return images
    small = F.interpolate(torch.from_numpy(images).float(), (size, size), mode="area")
    return small.round().to(torch.uint8).numpy()


@lru_cache(maxsize=16)
def _sheet(pixels: bytes, shape: tuple[int, int, int, int], columns: int) -> bytes:
    """All images as one PNG, row by row; cached, so that a rerun with the same images does not draw it again."""
    num_images, channels, height, width = shape
    rows = ceil(num_images / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:num_images] = np.frombuffer(pixels, np.uint8).reshape(shape).transpose(0, 2, 3, 1)
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    picture = Image.fromarray(
        sheet.reshape(rows * height, columns * width, channels).squeeze(-1 if channels == 1 else ())
    )
    png = BytesIO()
    picture.save(png, "PNG", compress_level=1)
    return png.getvalue()


def _url(png: bytes, key: str) -> str:
    """The URL at which Streamlit serves the picture while this element of this session shows it."""
    if not runtime.exists():
        return ""
    return runtime.get_instance().media_file_mgr.add(png, "image/png", f"gallery/{key}")
