"""A map over its image, drawn to be printed: PNG and SVG from one list of shapes, with the colour scale in numbers.

C channels, G patches along a side. Sizes are in pixels.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from minivit.figures import colormap

SIDE = 400  # about the side of each of the two pictures
MARGIN = 24
BAR_HEIGHT = 14
TEXT = 14  # font size
LINE = 22  # from one line of text to the next


@dataclass(frozen=True)
class Raster:
    """Pixels (h, w, 3), each enlarged to `zoom` × `zoom`, at (x, y)."""

    x: int
    y: int
    pixels: NDArray[np.uint8]
    zoom: int = 1


@dataclass(frozen=True)
class Box:
    """A filled rectangle; 1 is opaque."""

    x: int
    y: int
    width: int
    height: int
    colour: tuple[int, int, int]
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text with its baseline at y; `anchor` is SVG's."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = TEXT


Shape = Raster | Box | Text
ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}  # SVG's to PIL's


@dataclass(frozen=True)
class MapPicture:
    """One image beside its map laid over it, with a colour bar on which 1/N is marked.

    `image` is uint8 (C, h, w) with C 1 or 3, `values` (G·G,) are the map's weights, painted on the absolute `scale`
    (low, high); `uniform` is 1/N. `title` may be any text. The image under the map turns grey, so that the colours
    are the map's alone, as on the pages.
    """

    image: NDArray[np.uint8]
    values: NDArray[np.float32]
    scale: tuple[float, float]
    uniform: float
    title: str = ""
    colormap: str = "magma"
    overlay: float = 0.6

    @property
    def zoom(self) -> int:
        """Enlargement of a pixel of the image."""
        return max(1, round(SIDE / self.image.shape[-1]))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture."""
        side = self.zoom * self.image.shape[-1]
        return 2 * side + 3 * MARGIN, side + 2 * MARGIN + 5 * LINE + BAR_HEIGHT

    @cached_property
    def shapes(self) -> list[Shape]:
        """Everything to be drawn, back to front."""
        side = self.zoom * self.image.shape[-1]
        top, right = MARGIN + LINE, 2 * MARGIN + side
        legend = top + side + LINE
        return [
            Box(0, 0, *self.size, (255, 255, 255)),
            Text(MARGIN, MARGIN + TEXT - 4, self.title),
            Raster(MARGIN, top, rgb(self.image), self.zoom),
            *map_tile(self.image, self.values, self.scale, right, top, self.zoom, self.colormap, self.overlay),
            *colour_bar(
                MARGIN, legend, self.size[0] - 2 * MARGIN, self.scale, self.uniform, self.values, self.colormap
            ),
        ]

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return to_png(self.shapes, self.size)

    def svg(self) -> str:
        """The picture as an SVG file: patches as rectangles, the image's pixels inside as PNG."""
        return to_svg(self.shapes, self.size, self.title)


def map_tile(
    image: NDArray[np.uint8], values: NDArray[np.float32], scale: tuple[float, float], x: int, y: int, zoom: int,
    colours: str = "magma", overlay: float = 0.6,
) -> list[Shape]:  # fmt: skip
    """A map (G·G,) over its image: the image in grey, and a rectangle a patch."""
    grid = round(len(values) ** 0.5)
    step = zoom * image.shape[-1] // grid
    low, high = scale
    places = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1)
    painted = colormap(colours)[(places * 255).round().astype(int)]
    boxes = [
        Box(x + step * (n % grid), y + step * (n // grid), step, step, (int(r), int(g), int(b)), overlay)
        for n, (r, g, b) in enumerate(painted)
    ]
    return [Raster(x, y, grey(image), zoom), *boxes]


def colour_bar(
    x: int, y: int, width: int, scale: tuple[float, float], uniform: float, values: NDArray[np.float32],
    colours: str = "magma",
) -> list[Shape]:  # fmt: skip
    """The scale as a bar with its ends in numbers and a tick at the uniform value 1/N; takes 4 lines of text."""
    low, high = scale
    bar = y + LINE + 4
    place = x + round(width * (uniform - low) / max(high - low, 1e-12))
    beyond = " and more" if np.nanmax(values, initial=low) > high * 1.001 else ""
    steps = colormap(colours)[np.linspace(0, 255, width).round().astype(int)]
    shapes: list[Shape] = [
        Raster(x, bar, np.broadcast_to(steps, (BAR_HEIGHT, width, 3)).copy()),
        Text(x, bar + BAR_HEIGHT + LINE - 4, number(low)),
        Text(x + width, bar + BAR_HEIGHT + LINE - 4, f"{number(high)}{beyond}", "end"),
        Text(x, bar + BAR_HEIGHT + 2 * LINE, "attention weight"),
    ]
    if x <= place <= x + width:
        label = f"uniform 1/{round(1 / uniform)} = {number(uniform)}"
        anchor = "start" if place < x + width / 2 else "end"
        shapes += [
            Box(place - 1, bar - 5, 3, BAR_HEIGHT + 10, (255, 255, 255)),
            Box(place, bar - 5, 1, BAR_HEIGHT + 10, (0, 0, 0)),
            Text(place, bar - 9, label, anchor),
        ]
    return shapes


def number(value: float) -> str:
    """A weight as the pages write it."""
    return f"{value:.4f}" if value else "0"


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (C, h, w), C 1 or 3, -> (h, w, 3)."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (C, h, w) -> (h, w, 3) without colour, as bright as it was."""
    return np.asarray(Image.fromarray(rgb(image)).convert("L").convert("RGB"))


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image uint8 (C, h, w) as a PNG inside a `data:` address."""
    return _uri(Image.fromarray(rgb(image)))


def to_png(shapes: Sequence[Shape], size: tuple[int, int]) -> bytes:
    """Shapes as a PNG file."""
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for shape in shapes:
        match shape:
            case Raster():
                canvas.paste(_enlarged(shape), (shape.x, shape.y))
            case Box():
                area = (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
                under = canvas.crop(area)
                canvas.paste(Image.blend(under, Image.new("RGB", under.size, shape.colour), shape.opacity), area)
            case Text():
                font = ImageFont.load_default(shape.size)
                draw.text((shape.x, shape.y), printable(shape.text), "black", font, anchor=ANCHORS[shape.anchor])
    return _png(canvas)


def to_svg(shapes: Sequence[Shape], size: tuple[int, int], title: str) -> str:
    """Shapes as an SVG file that loads nothing."""
    width, height = size
    parts = [_svg_shape(shape) for shape in shapes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="Helvetica, Arial, sans-serif" shape-rendering="crispEdges" role="img">'
        f"<title>{escape(printable(title))}</title>{''.join(parts)}</svg>"
    )


def _svg_shape(shape: Shape) -> str:
    match shape:
        case Raster():
            picture = _enlarged(shape)
            size = f'width="{picture.width}" height="{picture.height}"'
            return f'<image x="{shape.x}" y="{shape.y}" {size} href="{_uri(picture)}"/>'
        case Box():
            colour = "#{:02x}{:02x}{:02x}".format(*shape.colour)
            opacity = f' fill-opacity="{shape.opacity:g}"' if shape.opacity < 1 else ""
            size = f'width="{shape.width}" height="{shape.height}"'
            return f'<rect x="{shape.x}" y="{shape.y}" {size} fill="{colour}"{opacity}/>'
        case Text():
            place = f'x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size}" text-anchor="{shape.anchor}"'
            return f"<text {place}>{escape(printable(shape.text))}</text>"


def printable(text: str) -> str:
    """Text without line breaks, control characters and lone surrogates, for which XML and a font have no place."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _enlarged(raster: Raster) -> Image.Image:
    picture = Image.fromarray(raster.pixels)
    return picture.resize((picture.width * raster.zoom, picture.height * raster.zoom), Image.Resampling.NEAREST)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _uri(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(picture)).decode()
