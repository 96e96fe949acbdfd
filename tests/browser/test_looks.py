"""Every page for everybody: no broken rule of accessibility, light and dark, and whole on a phone."""

import re

import pytest
from playwright.sync_api import Page, expect

from minivit.runs import Run
from tests.browser.browsing import broken_rules, drawn, to_dark
from tests.browser.server import Server
from tests.browser.test_links import CONTENT, expect_link_works

STREAMLITS = {"list", "listitem", "svg-img-alt"}  # broken in its own sidebar and in the sparkline of its metric

# Texts of which a part is hidden, in the page and in its components; where a tip tells the whole, nothing is lost.
CUT = """(main) => {
    const inside = (root) =>
        [...root.querySelectorAll("*")].flatMap((node) => [node, ...(node.shadowRoot ? inside(node.shadowRoot) : [])]);
    const isText = (node) => node.nodeType === Node.TEXT_NODE;
    const text = (node) => [...node.childNodes].filter(isText).map((child) => child.data).join("");
    const hides = (node) => ["hidden", "clip"].includes(getComputedStyle(node).overflowX);
    return inside(main)
        .filter((node) => text(node).trim() && node.clientWidth > 1 && node.checkVisibility())
        .filter((node) => !node.closest("[title]"))
        .filter((node) => hides(node) && node.scrollWidth > node.clientWidth + 1)
        .map(text);
}"""


@pytest.mark.parametrize("name", CONTENT)
def test_a_link_shows_the_run_on_its_page_to_everybody_in_light_and_dark_and_whole_on_a_phone(
    page: Page, server: Server, trained_run: Run, name: str
) -> None:
    expect_link_works(page, server, trained_run, name)
    expect_for_everybody(page)


def test_attention_shows_pictures_verdict_and_probabilities_above_the_fold_and_stacks_them_on_a_phone(
    page: Page, server: Server, trained_run: Run
) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    server.open(page, "attention", run=trained_run.id)
    drawn(page)
    pictures = page.locator(".inspector .picture")
    expect(pictures).to_have_count(3)
    shares = page.get_by_role("list", name="Class probabilities").get_by_role("listitem")
    expect(shares).to_have_count(3)
    for part in (page.get_by_text(re.compile("^Predicted: .* True class: ")), *pictures.all(), *shares.all()):
        expect(part).to_be_in_viewport(ratio=1)
    boxes = [picture.bounding_box() or {} for picture in pictures.all()]
    assert len({(box["y"], box["width"], box["height"]) for box in boxes}) == 1
    page.set_viewport_size({"width": 390, "height": 844})
    drawn(page)
    boxes = [picture.bounding_box() or {} for picture in pictures.all()]
    assert len({(box["x"], box["width"]) for box in boxes}) == 1
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]


def expect_for_everybody(page: Page) -> None:
    """The page breaks no rule of accessibility, light, dark and on a phone, where nothing is cut off."""
    still(page)
    assert ours_broken(page) == []
    to_dark(page)
    still(page)
    assert ours_broken(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    still(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    main = page.get_by_role("main")
    # Charts and maps fit the phone some frames after the window has changed
    page.wait_for_function("(main) => main.scrollWidth <= main.clientWidth", arg=main.element_handle())
    assert main.evaluate(CUT) == []
    assert ours_broken(page) == []


def still(page: Page) -> None:
    """Waits until the page stands still, and charts are there."""
    if "/train" in page.url:
        expect(page.get_by_role("slider", name=re.compile("accuracy by epoch"))).to_be_visible()
    drawn(page)


def ours_broken(page: Page) -> list[tuple[str, list[str]]]:
    return [(rule, places) for rule, places in broken_rules(page) if rule not in STREAMLITS]
