"""Every page for everybody: no broken rule of accessibility, light and dark, and whole on a phone."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from minivit.runs import Run
from tests.browser.conftest import SECONDS, Server, settle, watched

PAGES = ["", "data", "train", "sweeps", "predictions", "attention", "compare", "anatomy", "runs"]
STREAMLITS = {"list", "listitem", "svg-img-alt"}  # broken in its own sidebar and in the sparkline of its metric

# Texts of which a part is hidden, in the page and in its components; where a tip tells the whole, nothing is lost.
CUT = """(main) => {
    const inside = (root) =>
        [...root.querySelectorAll("*")].flatMap((one) => [one, ...(one.shadowRoot ? inside(one.shadowRoot) : [])]);
    const text = (one) => [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("");
    const hides = (one) => ["hidden", "clip"].includes(getComputedStyle(one).overflowX);
    return inside(main)
        .filter((one) => text(one).trim() && one.clientWidth > 1 && one.checkVisibility() && !one.closest("[title]"))
        .filter((one) => hides(one) && one.scrollWidth > one.clientWidth + 1)
        .map(text);
}"""


@pytest.mark.parametrize("name", PAGES, ids=lambda name: name or "home")
def test_a_page_is_for_everybody_in_light_and_dark_and_whole_on_a_phone(
    browser: Browser, server: Server, trained_run: Run, name: str
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(1000 * SECONDS)
    with watched(page):
        server.open(page, name, run=trained_run.id)
        still(page)
        assert broken_rules(page) == []
        light = background(page)
        page.emulate_media(color_scheme="dark")
        expect(page.get_by_test_id("stApp")).not_to_have_css("background-color", light)
        still(page)
        assert broken_rules(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        still(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        main = page.get_by_role("main")
        assert main.evaluate("(main) => main.scrollWidth <= main.clientWidth")
        assert main.evaluate(CUT) == []
        assert broken_rules(page) == []
    page.close()


def still(page: Page) -> None:
    """Waits until nothing is drawn anew, for that is faded meanwhile, and charts are there."""
    settle(page)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # parts that load late, the style sheet among them
    page.wait_for_function("!document.getAnimations().some((one) => one instanceof CSSTransition)")
    if "/train" in page.url:
        expect(page.get_by_role("slider", name=re.compile("accuracy by epoch"))).to_be_visible()


def background(page: Page) -> str:
    return page.get_by_test_id("stApp").evaluate("(app) => getComputedStyle(app).backgroundColor")


def broken_rules(page: Page) -> list[tuple[str, Any]]:
    found = Axe().run(page).response["violations"]
    return [
        (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
        for rule in found
        if rule["id"] not in STREAMLITS
    ]
