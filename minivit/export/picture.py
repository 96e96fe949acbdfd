"""A map beside its image for print: PNG, SVG and PDF by matplotlib, with a labeled color scale.

C channels, h × w pixels, G patches along a side.
"""

import base64
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minivit.figures import color_indices, colormap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PictureFormat = Literal["png", "svg", "pdf"]


@dataclass(frozen=True, eq=False)
class MapPicture:
    """An image, and beside it its map, with a color bar on which 1/N is marked.

    `image` is uint8 (C, h, w) with C 1 or 3; `values` (G·G,) are drawn on the absolute `scale` (low, high); `uniform`
    is 1/N. `title` may be any text.
    """

    image: NDArray[np.uint8]
    values: NDArray[np.float32]
    scale: tuple[float, float]
    uniform: float
    title: str = ""

    def figure(self) -> "Figure":
        from matplotlib.figure import Figure  # takes a second to import

        figure = Figure(figsize=(8.8, 5.6), dpi=100, layout="constrained")
        figure.suptitle(printable(self.title), fontsize=10, x=0.01, ha="left", parse_math=False)
        left, right, bar = figure.subplot_mosaic(
            [["image", "map"], ["bar", "bar"]], height_ratios=[12, 0.5], gridspec_kw={"hspace": 0.12}
        ).values()
        pixels = {"image": rgb(self.image), "map": map_pixels(self.values, self.scale, self.image.shape[-1])}
        for axes, name in ((left, "image"), (right, "map")):
            axes.imshow(pixels[name], interpolation="nearest", gid=name)
            axes.set_axis_off()
        draw_color_bar(bar, self.scale, self.uniform, self.values)
        return figure

    def render(self, fmt: PictureFormat) -> bytes:
        return render(self.figure(), fmt)


def map_pixels(values: NDArray[np.float32], scale: tuple[float, float], size: int) -> NDArray[np.uint8]:
    """A map (G·G,) in the colors of its scale, as large as its image: uint8 (size, size, 3)."""
    grid = round(len(values) ** 0.5)
    colors = colormap("magma")[color_indices(values, scale)].reshape(grid, grid, 3)
    return colors.repeat(size // grid, 0).repeat(size // grid, 1)


def draw_color_bar(axes: "Axes", scale: tuple[float, float], uniform: float, values: NDArray[np.float32]) -> None:
    """The scale as a bar with labeled ends and a mark at the uniform value 1/N."""
    low, high = scale
    axes.imshow(colormap("magma")[None], extent=(low, high, 0, 1), aspect="auto", gid="colors")
    is_clipped = np.nanmax(values, initial=low) > high * 1.001
    axes.set_xticks([low, high], [_number(low), ("≥ " if is_clipped else "") + _number(high)])
    axes.set_yticks([])
    axes.set_xlabel("attention weight", fontsize=9)
    if low <= uniform <= high:
        axes.axvline(uniform, color="white", linewidth=3)
        axes.axvline(uniform, color="black", linewidth=1, gid="uniform")
        label = f"uniform 1/{round(1 / uniform)} = {_number(uniform)}"
        side = "left" if uniform < (low + high) / 2 else "right"
        axes.annotate(label, (uniform, 1), (0, 3), textcoords="offset points", fontsize=9, ha=side)


def render(figure: "Figure", fmt: PictureFormat) -> bytes:
    """A matplotlib figure as a file without a date, in which text remains text."""
    import matplotlib

    file = io.BytesIO()
    no_date: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(fmt, {})
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "minivit"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that matplotlib's font lacks are drawn as boxes
        figure.savefig(file, format=fmt, metadata=no_date)
    return file.getvalue()


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (C, h, w), C 1 or 3, -> (h, w, 3)."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels uint8 (h, w, 3) as a PNG in a `data:` URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return data_uri(file.getvalue(), "image/png")


def data_uri(content: bytes, mime_type: str) -> str:
    """A file as a `data:` URI."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def printable(text: str) -> str:
    """Text without line breaks, control characters and lone surrogates, which XML and fonts cannot represent."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _number(value: float) -> str:
    return f"{value:.4f}" if value else "0"
