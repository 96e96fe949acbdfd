"""A data set drawn in code: ten shapes on cluttered backgrounds, and a mask of where each shape is.

Size, position, color, rotation and clutter are sampled in the same way for every class, so that only the outline
reveals the class. Neither the center of the picture nor the brightness of a patch reveals where the shape is, only its
color, which is redder than its surroundings. (If it were lighter in some images and darker in others instead, a small
ViT would hardly learn the classes in 20 epochs.) `DRAWINGS` has the former drawing too, for the runs trained on it.

Outlines are signed distance functions (https://iquilezles.org/articles/distfunctions2d), computed for a chunk of images
at a time; distance over pixel pitch gives antialiased edges.

Letters: B images, H = W = img_size. The picture is the square -1..1, y up; x, y are coordinates and d a signed
distance (negative inside), float32 (B, H, W). Parameters of an image are (B, 1, 1), colors (B, 3, 1, 1) in 0..1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from minivit.config import SHAPES_CLASSES

Array = np.ndarray
Outline = Callable[[Array, Array], Array]
Range = tuple[float, float]

STRETCH = 1.08  # at most this much longer and that much narrower
NUM_CLUTTER = 7
# Towards red, changing neither the mean of the channels nor the luminance of a grayscale image (ITU-R BT.601)
RED = np.array([0.473, -0.185, -0.288], np.float32)[:, None, None]
CHUNK_PIXELS = 2**16  # fits into the CPU cache


@dataclass(frozen=True)
class Palette:
    """The ranges that colors are sampled from, uniformly."""

    brightness: Range  # mean of the three channels
    tint: float  # of each channel, at most, before the three are centered
    red: Range | None = None  # along RED


@dataclass(frozen=True)
class Drawing:
    """How a shape differs from its background, and where it lies."""

    area: Range  # of the picture, the same for every class: a thin shape is drawn larger
    background: Palette
    shape: Palette
    relative: bool = False  # the brightness of the shape is added to that of the background
    # Power of both coordinates of the center, -1..1: near 0 shapes lie near the corners, where a map of the center does
    # not find them, and only tips may be outside. None: anywhere, all of the shape inside.
    corner_power: float | None = None


DRAWINGS = {
    1: Drawing((0.11, 0.27), Palette((0.1, 0.4), tint=0.4), Palette((0.6, 0.85), tint=0.4)),
    2: Drawing(
        (0.08, 0.11),
        Palette((0.22, 0.7), tint=0.1, red=(-0.7, -0.15)),
        Palette((-0.08, 0.09), tint=0.1, red=(0.7, 1)),
        relative=True,
        corner_power=0.1,
    ),
}


def _circle(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y) - 1


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_circle(x, y) + 0.26) - 0.26


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(_circle(x, y), 0.85 - np.sqrt((x - 0.6) ** 2 + y * y))


def _cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 1, y - 0.36), np.maximum(x - 0.36, y - 1))


def _heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y + 0.55
    lobe = np.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - 0.5**1.5
    foot = 0.5 * np.maximum(x + y, 0)
    flank = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - foot) ** 2 + (y - foot) ** 2))
    return np.where(x + y > 1, lobe, np.where(x > y, flank, -flank))


def _polygon(*corners: tuple[float, float]) -> Outline:
    def distance(x: Array, y: Array) -> Array:
        nearest = np.full_like(x, np.inf)
        inside = np.zeros(x.shape, bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
            inside ^= ((y >= ay) != (y >= by)) & ((px * ey < py * ex) == (ey > 0))  # edges to the right: even or odd
        return np.where(inside, -1, 1) * np.sqrt(nearest)

    return distance


def _on_circle(*radii: float) -> list[tuple[float, float]]:
    turns = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return [(float(r * np.sin(t)), float(r * np.cos(t))) for r, t in zip(radii, turns, strict=True)]


OUTLINES: dict[str, Outline] = {
    "circle": _circle,
    "square": _polygon(*_on_circle(1, 1, 1, 1)),
    "triangle": _polygon(*_on_circle(1, 1, 1)),
    "star": _polygon(*_on_circle(*[1, 0.45] * 5)),
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
    "arrow": _polygon((0, 1), (0.8, 0.1), (0.28, 0.1), (0.28, -1), (-0.28, -1), (-0.28, 0.1), (-0.8, 0.1)),
    "hourglass": _polygon((0.85, 1), (0.22, 0), (0.85, -1), (-0.85, -1), (-0.22, 0), (-0.85, 1)),
}
assert tuple(OUTLINES) == SHAPES_CLASSES


def draw(
    name: str,
    num_images: int,
    *,
    seed: int = 0,
    img_size: int = 32,
    drawing: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, H, W) of one class and masks bool (N, H, W) of the shape, N = num_images.

    An image depends on nothing but `seed`, its class, its index, `img_size` and `drawing`, a key of `DRAWINGS`: more
    images only append. `progress(done, N)` is called after every chunk.
    """
    images = np.empty((num_images, 3, img_size, img_size), np.uint8)
    masks = np.empty((num_images, img_size, img_size), bool)
    chunk = max(1, CHUNK_PIXELS // img_size**2)
    for first in range(0, num_images, chunk):
        last = min(first + chunk, num_images)
        rng = np.random.default_rng([seed, first, *name.encode()])
        # Always a whole chunk: the last one then starts with the images that it has when more are asked for.
        chunk_images, chunk_masks = _draw_chunk(DRAWINGS[drawing], name, chunk, img_size, rng)
        images[first:last], masks[first:last] = chunk_images[: last - first], chunk_masks[: last - first]
        if progress:
            progress(last, num_images)
    return torch.from_numpy(images), torch.from_numpy(masks)


def _draw_chunk(drawing: Drawing, name: str, B: int, img_size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Images uint8 (B, 3, H, W) of one class, and masks bool (B, H, W)."""
    pitch = 2 / img_size
    row = np.linspace(-1 + pitch / 2, 1 - pitch / 2, img_size, dtype=np.float32)
    x, y = np.broadcast_arrays(row, -row[:, None])

    def uniform(low: float, high: float, channels: int | None = None) -> Array:
        shape = (B, 1, 1) if channels is None else (B, channels, 1, 1)
        return rng.uniform(low, high, shape).astype(np.float32)

    def sample_colors(palette: Palette, base: Array | float = 0) -> Array:
        tint = uniform(-palette.tint, palette.tint, 3)
        color = tint - tint.mean(1, keepdims=True) + (uniform(*palette.brightness, 1) + base)
        return np.clip(color + uniform(*palette.red, 1) * RED if palette.red else color, 0, 1)

    def paint(d: Array, color: Array) -> None:
        images[:] += np.clip(0.5 - d / pitch, 0, 1)[:, None] * (color - images)

    def local_coordinates(cx: Array | float, cy: Array | float) -> tuple[Array, Array]:
        angle = rng.uniform(0, 2 * np.pi, (B, 1, 1))  # float64: how a processor rounds a sine is lost in float32
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        return cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx)

    # Background: a gradient between two colors, stripes, smooth texture.
    background, other = sample_colors(drawing.background), sample_colors(drawing.background)
    images = background + (other - background) * (0.5 + 0.35 * local_coordinates(0, 0)[0])[:, None]
    stripes = np.abs(local_coordinates(0, 0)[0] * uniform(1, 5) % 1 - 0.5) - 0.25
    images += uniform(-0.5, 0.5, 3) * stripes[:, None]
    images += uniform(0, 0.25, 1) * _smooth_noise(B, img_size, rng)

    # Clutter: lines, bars, corners and arcs, none of them a class.
    for number in range(NUM_CLUTTER):
        u, v = local_coordinates(uniform(-1, 1), uniform(-1, 1))
        length, bend, thickness = uniform(0.25, 0.7), uniform(-1, 1), uniform(0.1, 0.25)
        d = _arc(u, v, length, bend) if number % 2 else _corner(u, v, length, bend)
        paint(d - thickness * length, sample_colors(drawing.background))

    # Shape: of the same areas in every class, inside the picture but for its tips.
    unit_area, unit_radius = _measure(name)
    area = uniform(*drawing.area)
    scale = np.sqrt(area * 4 / unit_area)
    stretch = uniform(1 / STRETCH, STRETCH)
    if drawing.corner_power is None:
        room = np.maximum(1 - pitch - scale * unit_radius * np.maximum(stretch, 1 / stretch), 0)
    else:
        room = 1 - 2 * np.sqrt(area / np.pi)  # a disk of that area just stays inside

    def sample_center() -> Array:
        offset = uniform(-1, 1)
        if drawing.corner_power is not None:
            offset = np.sign(offset) * np.abs(offset) ** drawing.corner_power
        return offset * room

    u, v = local_coordinates(sample_center(), sample_center())
    d = OUTLINES[name](u / (scale * stretch), v * stretch / scale) * scale
    base = (background + other).mean(1, keepdims=True) / 2 if drawing.relative else 0
    paint(d, sample_colors(drawing.shape, base) + uniform(-0.1, 0.1, 3) * (u / scale)[:, None])

    images += uniform(0.02, 0.12, 1) * (rng.random(images.shape, np.float32) - 0.5)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8), d < 0


def _smooth_noise(B: int, img_size: int, rng: np.random.Generator) -> Array:
    """Random values on a grid of 7 × 7 points, linear in between: (B, 3, H, W) in -1..1."""
    noise = rng.uniform(-1, 1, (B, 3, 7, 7)).astype(np.float32)
    cell, share = np.divmod(np.arange(img_size, dtype=np.float32) * (6 / img_size), 1)
    at = cell.astype(int)
    noise = noise[:, :, at] + share[:, None] * (noise[:, :, at + 1] - noise[:, :, at])
    return noise[..., at] + share * (noise[..., at + 1] - noise[..., at])


def _corner(x: Array, y: Array, length: Array, bend: Array) -> Array:
    """Distance to two strokes that meet at 70° to 100°, or to one where `bend` is below 0."""
    ex, ey = length, np.where(bend > 0, length * (0.7 + 0.5 * bend), 0)
    y = np.where(bend > 0, np.abs(y), y)
    along = np.clip((x * ex + y * ey) / (ex * ex + ey * ey), 0, 1)
    return np.sqrt((x - along * ex) ** 2 + (y - along * ey) ** 2)


def _arc(x: Array, y: Array, radius: Array, bend: Array) -> Array:
    """Distance to an arc of 74° to 180°."""
    x = x + radius
    y = np.abs(y)
    cos = 0.4 + 0.4 * bend
    sin = np.sqrt(1 - cos * cos)
    to_end = np.sqrt((x - radius * cos) ** 2 + (y - radius * sin) ** 2)
    return np.where(sin * x > cos * y, np.abs(np.sqrt(x * x + y * y) - radius), to_end)


@cache
def _measure(name: str) -> tuple[float, float]:
    """Area and radius of a class's outline before it is scaled."""
    row = np.linspace(-1.2, 1.2, 481, dtype=np.float32)
    x, y = np.broadcast_arrays(row, row[:, None])
    inside = OUTLINES[name](x, y) < 0
    return float(inside.mean() * 2.4**2), float(np.sqrt(x * x + y * y)[inside].max())
