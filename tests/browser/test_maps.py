"""Maps side by side, on a small app of their own."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsing import expect_components_for_everybody
from tests.browser.canvases import painted
from tests.browser.server import serving, until

MAPS = """
import numpy as np
import streamlit as st
from pages.parts.components.maps import Caption, maps

@st.fragment(run_every=1 if "live" in st.query_params else None)
def part():
    number = st.session_state.setdefault("number", 0) + 1
    st.session_state.number = number
    rng = np.random.default_rng(number)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    columns = {"untrained": np.full((3, 49), 1 / 50), "trained": rng.uniform(0, 0.1, (3, 49))}
    opened = maps(
        images, columns, key="maps", scale=(0, 0.08), uniform=1 / 50,
        titles=["frog", "truck", "<img src=x onerror=alert(1)>"],
        captions={"trained": [Caption("frog 91%", True), Caption("<b>cat</b> 31%", False), Caption("frog 40%")]},
    )
    if opened is not None:
        st.session_state.opened = opened
    st.text(f"run {number}, opened {st.session_state.get('opened')}")

part()
"""


@pytest.fixture(scope="module")
def maps_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(MAPS, tmp_path_factory.mktemp("maps")) as address:
        yield address


def test_names_from_outside_are_text(page: Page, maps_app: str) -> None:
    page.goto(maps_app)
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    expect(page.get_by_text("✗ <b>cat</b> 31%")).to_be_visible()
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_a_click_on_a_row_of_maps_opens_its_image(page: Page, maps_app: str) -> None:
    page.goto(maps_app)
    row = page.get_by_role("button", name="image 2, truck; trained: <b>cat</b> 31%, incorrect")
    row.click()
    expect(page.get_by_text("run 2, opened 1")).to_be_visible()
    row.press("Enter")
    expect(page.get_by_text("run 3, opened 1")).to_be_visible()


def test_maps_share_one_scale_until_the_user_selects_their_own(page: Page, maps_app: str) -> None:
    page.goto(maps_app)
    canvases = page.get_by_role("button", name="image 1, frog").locator("canvas")
    untrained = canvases.nth(2)
    expect(page.get_by_text("uniform 1/50 = 0.02")).to_be_visible()
    expect(page.get_by_text("≥ 0.08")).to_be_visible()
    assert len(np.unique(painted(untrained).reshape(-1, 4), axis=0)) == 1
    expect(page.get_by_text("contrast exaggerated")).not_to_be_visible()
    expect(page.get_by_label("Overlay")).to_have_value("100")  # colors as in the legend, not mixed with the image
    trained = painted(canvases.nth(4))
    page.get_by_label("Scale").select_option("per-map scale")
    expect(page.get_by_text("contrast exaggerated")).to_be_visible()
    assert (painted(canvases.nth(4)) != trained).any()
    page.get_by_label("Overlay").fill("0")
    expect(untrained).to_have_css("mask-image", re.compile("^linear-gradient"))


def test_a_live_strip_is_painted_in_place(page: Page, maps_app: str) -> None:
    page.goto(f"{maps_app}?live=1")
    now = page.get_by_role("button", name="image 1, frog").locator("canvas").nth(4)
    before = painted(now)
    now.evaluate("canvas => { canvas.same = true }")
    status = page.get_by_text(re.compile(r"^run \d+, opened"))

    def number() -> int:
        return int(status.inner_text().split(",")[0].removeprefix("run "))

    seen = number()
    until(lambda: number() >= seen + 2, "it is drawn twice more")
    assert now.evaluate("canvas => canvas.same")
    assert (painted(now) != before).any()


def test_it_is_accessible_and_stays_inside_the_page(page: Page, maps_app: str) -> None:
    page.goto(maps_app)
    expect(page.get_by_label("Overlay")).to_be_visible()
    expect_components_for_everybody(page)
