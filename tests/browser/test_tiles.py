"""Tiles alone in a browser, without a server: one scale for all, side by side on a phone."""

import numpy as np
from playwright.sync_api import Page, expect

from pages.parts.components.tiles import Row, Scale, Tile, tiles
from tests.browser.browsing import TWO_FRAMES
from tests.browser.canvases import expect_colors, painted
from tests.browser.conftest import Mount

MARKUP = "<img src=x onerror=alert(1)>"
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def draw(mount: Mount, low: float = 0, high: float = 0.08) -> None:
    """A picture, and a row of five maps."""
    even, rising = np.full((4, 4), 0.02, np.float32), np.linspace(0.002, 0.092, 16, dtype=np.float32).reshape(4, 4)
    heads = [Tile(rising, f"position {i}", "−12.4 to −3.1") for i in range(4)]
    rows = [Row("picture", [Tile(PICTURE, caption=MARKUP)]), Row("head 1", [Tile(even, "content–content"), *heads])]
    scale = Scale(title="Attention.", low=low, high=high, marks={"uniform 1/50": 1 / 50})
    with mount("tiles", "board"):
        tiles(rows, scale, key="tiles", label="Maps", size=104, choice=True)


def test_tiles_share_a_labeled_scale_until_the_user_selects_their_own(page: Page, mount: Mount) -> None:
    draw(mount)
    for text in ("uniform 1/50", "≥ 0.080", MARKUP):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    bar = painted(page.locator(".legend-bar"))[0, :, :3].astype(int)
    expect_colors(bar, np.linspace(0, 1, len(bar)), 0, "magma", 1)
    tile = page.get_by_role("group", name="Maps").get_by_role("img")
    expect(tile).to_have_count(6)
    picture = painted(tile.nth(0).locator("canvas"))
    np.testing.assert_array_equal(picture[..., :3], PICTURE)
    even, rising = (painted(tile.nth(place).locator("canvas")) for place in (1, 2))
    assert len(np.unique(even.reshape(-1, 4), axis=0)) == 1
    assert (rising[0, 3] == even[0, 0]).all()  # 0.02 there too
    expect(page.get_by_text("contrast exaggerated")).not_to_be_visible()
    page.get_by_label("Scale").select_option("own")
    expect(page.get_by_text("contrast exaggerated")).to_be_visible()
    expect(page.get_by_text("0.092", exact=True)).to_be_visible()
    expect(page.get_by_text("The scale starts at 0.002, not at 0.")).to_be_visible()
    rescaled, brighter = (painted(tile.nth(place).locator("canvas")) for place in (1, 2))
    assert (rescaled != even).any() and (brighter[0, 3] == rescaled[0, 0]).all()
    np.testing.assert_array_equal(painted(tile.nth(0).locator("canvas")), picture)
    draw(mount, low=0.01, high=0.1)
    expect(page.locator(".legend-ends span")).to_have_text(["≤ 0.010", "0.10"])


def test_a_row_of_five_stays_in_one_line_on_a_phone(page: Page, mount: Mount) -> None:
    draw(mount)
    page.set_viewport_size({"width": 390, "height": 844})
    canvases = page.get_by_role("img").locator("canvas")
    expect(canvases).to_have_count(6)
    page.evaluate(TWO_FRAMES)  # in which the row adapts
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [canvas.bounding_box() for canvas in canvases.all()[1:]]
    assert len({round(box["y"]) for box in boxes if box}) == 1  # also where a name takes two lines
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 50 for box in boxes)
