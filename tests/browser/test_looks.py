"""Every page for everybody: nothing moves while it loads, whole on a phone, no broken rule of accessibility."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from minivit.runs import Run
from tests.browser.browsing import broken_rules, drawn, expect_nothing_moved, to_dark
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
def test_a_link_shows_the_run_on_its_page_where_nothing_moves_or_is_cut_off_and_all_is_for_everybody(
    visitor: Page, server: Server, trained_run: Run, name: str
) -> None:
    expect_link_works(visitor, server, trained_run, name)
    if name == "Train":
        expect(visitor.get_by_role("slider", name=re.compile("accuracy by epoch"))).to_be_visible()
    expect_for_everybody(visitor)


@pytest.mark.parametrize("name", ["", "train", "attention"])
def test_nothing_moves_either_when_the_scripts_are_in_the_browser_s_cache(
    visitor: Page, server: Server, trained_run: Run, name: str
) -> None:
    server.open(visitor, name, run=trained_run.id)
    expect_nothing_moved(visitor)


def test_nothing_moves_when_the_pictures_come_last(visitor: Page, server: Server) -> None:
    late: list[Route] = []
    visitor.route("**/media/*.png*", lambda route: late.append(route))
    visitor.goto(f"{server.address}/data")
    expect(visitor.get_by_alt_text("The same image cut into patches")).to_be_attached()
    drawn(visitor)
    while not visitor.evaluate("[...document.images].every((image) => image.complete)"):
        while late:
            late.pop().continue_()
    expect_nothing_moved(visitor)
    visitor.unroute_all()


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
    to_dark(page)  # beside the sidebar, which a phone hides
    assert ours_broken(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    drawn(page)
    boxes = [picture.bounding_box() or {} for picture in pictures.all()]
    assert len({(box["x"], box["width"]) for box in boxes}) == 1
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]


def expect_for_everybody(page: Page) -> None:
    """Nothing moves while the page of a `visitor` loads, it fits, and it breaks no rule of accessibility."""
    expect_nothing_moved(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    main = page.get_by_role("main")
    # Charts and maps fit a phone some frames after they are drawn
    page.wait_for_function("(main) => main.scrollWidth <= main.clientWidth", arg=main.element_handle())
    assert main.evaluate(CUT) == []
    assert ours_broken(page) == []


def ours_broken(page: Page) -> list[tuple[str, list[str]]]:
    return [(rule, places) for rule, places in broken_rules(page) if rule not in STREAMLITS]
