"""Maps side by side alone in a browser, without a server."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from pages.parts.components.maps import Caption, maps
from tests.browser.canvases import expect_colors, painted
from tests.browser.conftest import Mount

MARKUP = "<img src=x onerror=alert(1)>"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)


def trained(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 0.1, (3, 49)).astype(np.float32)


def draw(values: NDArray[np.float32]) -> None:
    maps(
        IMAGES,
        {"untrained": np.full((3, 49), 1 / 50, np.float32), "trained": values},
        key="maps",
        scale=(0, 0.08),
        uniform=1 / 50,
        titles=["frog", "truck", MARKUP],
        captions={"trained": [Caption("frog 91%", True), Caption("<b>cat</b> 31%", False), Caption("frog 40%")]},
    )


@pytest.fixture(autouse=True)
def drawn_maps(mount: Mount) -> None:
    with mount("maps", "board"):
        draw(trained(1))


def test_maps_share_one_scale_until_the_user_selects_their_own(page: Page) -> None:
    canvases = page.get_by_role("button", name="image 1, frog").locator("canvas")
    untrained = canvases.nth(2)
    expect(page.get_by_text("uniform 1/50 = 0.02")).to_be_visible()
    expect(page.get_by_text("≥ 0.08")).to_be_visible()
    assert len(np.unique(painted(untrained).reshape(-1, 4), axis=0)) == 1
    expect(page.get_by_text("contrast exaggerated")).not_to_be_visible()
    expect(page.get_by_label("Overlay")).to_have_value("100")  # colors as in the legend, not mixed with the image
    shared = painted(canvases.nth(4))
    page.get_by_label("Scale").select_option("per-map scale")
    expect(page.get_by_text("contrast exaggerated")).to_be_visible()
    assert (painted(canvases.nth(4)) != shared).any()
    page.get_by_label("Overlay").fill("0")
    expect(untrained).to_have_css("mask-image", re.compile("^linear-gradient"))


def test_names_from_outside_are_text_and_a_click_on_a_row_of_maps_opens_its_image(page: Page) -> None:
    expect(page.get_by_text(MARKUP)).to_be_visible()
    expect(page.get_by_text("✗ <b>cat</b> 31%")).to_be_visible()
    expect(page.locator("img[src=x]")).to_have_count(0)
    row = page.get_by_role("button", name="image 2, truck; trained: <b>cat</b> 31%, incorrect")
    row.click()
    assert page.evaluate("sent") == [["opened", 1]]
    row.press("Enter")
    assert page.evaluate("sent") == [["opened", 1]] * 2


def test_new_values_are_painted_in_place(page: Page, mount: Mount) -> None:
    now = page.get_by_role("button", name="image 1, frog").locator("canvas").nth(4)
    now.evaluate("canvas => { canvas.same = true }")
    with mount("maps", "board", again=True):
        draw(trained(2))
    assert now.evaluate("canvas => canvas.same")
    expect_colors(painted(now).reshape(-1, 4)[:, :3].astype(int), trained(2)[0], 0, "magma", 0.08)
