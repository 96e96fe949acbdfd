"""Attention over the images of a gallery in a real browser."""

import numpy as np
from playwright.sync_api import Page, expect

from pages.parts.components.gallery import GalleryItem, HoverMaps, gallery
from tests.browser.canvases import expect_colors, painted
from tests.browser.conftest import Mount
from tests.browser.server import ROOT


def test_the_image_under_the_pointer_or_with_the_focus_is_covered_by_its_own_map_and_can_be_clicked(
    page: Page, mount: Mount
) -> None:
    page.route("http://127.0.0.1:9/", lambda route: route.fulfill(path=ROOT / "pages/parts/shell/favicon.png"))
    values = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    with mount("gallery"):
        items = [GalleryItem(index, "frog") for index in range(12)]
        hover = HoverMaps(values, (0.0, 1.0), 1 / 17)
        gallery(np.zeros((12, 3, 32, 32), np.uint8), items, key="gallery", label="test images", hover=hover)
    images, covers = page.get_by_role("group", name="test images").get_by_role("button"), page.locator(".thumb canvas")
    images.nth(2).hover()
    expect(images.nth(2).locator("canvas")).to_be_visible()
    expect_colors(painted(covers).reshape(-1, 4)[:, :3], values[2], 0, "magma", 1)
    images.nth(2).click()
    assert page.evaluate("sent") == [["picked", 2]]
    page.mouse.move(1000, 900)
    expect(covers).to_have_count(0)
    images.first.focus()
    page.keyboard.press("End")
    expect(images.last.locator("canvas")).to_be_visible()
    expect_colors(painted(covers).reshape(-1, 4)[:, :3], values[-1], 0, "magma", 1)
    images.last.blur()
    expect(covers).to_have_count(0)
