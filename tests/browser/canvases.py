"""What the browser painted on canvases, as arrays, and what values its colors stand for."""

import base64
import io

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

from minivit.figures import colormap


def painted(canvas: Locator) -> np.ndarray:
    """The pixels of a canvas as (height, width, 4)."""
    height, width, pixels = canvas.evaluate(
        """c => {
            const {data} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            let bytes = "";
            for (let i = 0; i < data.length; i += 8192) bytes += String.fromCharCode(...data.subarray(i, i + 8192));
            return [c.height, c.width, btoa(bytes)];  // a list of numbers would take a minute
        }"""
    )
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)


def painted_maps(page: Page) -> list[np.ndarray]:
    """The pixels of each layer's and head's map, as the sheet over their buttons has them."""
    grid = page.get_by_role("toolbar", name="Layer and head")
    sheet, origin = painted(grid.locator("canvas.sheet")), grid.bounding_box()
    boxes = [button.bounding_box() for button in grid.get_by_role("button").all()]
    assert origin and all(boxes)
    x, y = ([round(box[side] - origin[side]) for box in boxes if box] for side in ("x", "y"))
    sizes = [round(box["width"]) for box in boxes if box]
    return [
        sheet[top + 1 : top + size - 1, left + 1 : left + size - 1] for left, top, size in zip(x, y, sizes, strict=True)
    ]


def read_off(picture: Locator, legend: Locator, grid: int, within: float) -> np.ndarray:
    """What a person reads off the screen: for each patch of a picture the position 0..1 of its color on the legend.

    Each patch is looked at `within` of its side from its upper left corner.
    """
    screen = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"))
    at = ((np.arange(grid) + within) * len(screen) / grid).astype(int)
    colors, bar = screen[at][:, at].reshape(-1, 1, 3).astype(int), painted(legend)[0, :, :3].astype(int)
    return np.abs(colors - bar).sum(-1).argmin(1) / (len(bar) - 1)


def expect_colors(colors: np.ndarray, values: np.ndarray, low: float, name: str, high: float) -> None:
    """Colors (n, 3) are those of n values from `low` to `high`, to half a step of a byte and two levels per channel."""
    table = colormap(name)[:: -1 if name == "RdBu" else 1]
    assert len(colors) == len(values)
    places = np.clip((values - low) / (high - low) * 255, 0, 255)[:, None] + np.linspace(-0.5, 0.5, 9)  # (n, 9)
    near = np.stack([np.interp(places, np.arange(256), channel) for channel in table.T], axis=-1)
    assert (np.abs(near - colors[:, None]).max(-1).min(-1) <= 2).all()
