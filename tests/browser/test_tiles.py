"""Tiles in a real browser, on a small app of their own: one scale for all, side by side on a phone."""

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsing import broken_rules
from tests.browser.canvases import painted
from tests.browser.server import serving

TILES = """
import numpy as np
import streamlit as st
from pages.parts.components.tiles import Row, Scale, Tile, tiles

MARKUP = "<img src=x onerror=alert(1)>"
even, rising = np.full((4, 4), 0.02, np.float32), np.linspace(0.002, 0.092, 16, dtype=np.float32).reshape(4, 4)
picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
rows = [
    Row("picture", [Tile(picture, caption=MARKUP)]),
    Row("head 1", [Tile(even, "content–content"), *(Tile(rising, f"position {i}", "−12.4 to −3.1") for i in range(4))]),
]
scale = Scale(title="Attention.", low=0, high=0.08, marks={"uniform 1/50": 1 / 50})
tiles(rows, scale, key="tiles", label="Maps", size=104, choice=True)
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(TILES, tmp_path_factory.mktemp("tiles")) as address:
        yield address


def test_tiles_share_a_labeled_scale_until_the_user_selects_their_own(page: Page, app: str) -> None:
    page.goto(app)
    for text in ("uniform 1/50", "≥ 0.080", "<img src=x onerror=alert(1)>"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    tile = page.get_by_role("group", name="Maps").get_by_role("img")
    expect(tile).to_have_count(6)
    picture = painted(tile.nth(0).locator("canvas"))
    np.testing.assert_array_equal(picture[..., :3], np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
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


def test_a_row_of_five_stays_in_one_line_on_a_phone(page: Page, app: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(app)
    canvases = page.get_by_role("img").locator("canvas")
    expect(canvases).to_have_count(6)
    boxes = [canvas.bounding_box() for canvas in canvases.all()[1:]]
    assert len({round(box["y"]) for box in boxes}) == 1  # also where a name takes two lines
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 50 for box in boxes)
    assert broken_rules(page, ".stBidiComponent") == []
    assert page.locator(".stBidiComponent").evaluate("node => node.scrollWidth <= node.clientWidth")
