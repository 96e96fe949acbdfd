"""The tour in a browser: from Home through all steps; left, and resumed by a link; by keyboard alone; for everybody."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from minivit.tour import read_highlights
from pages.parts.tour.steps import Step, step_params, steps
from tests.browser.browsing import NO_TRANSITION, drawn, settle
from tests.browser.canvases import painted
from tests.browser.server import Server, until
from tests.browser.test_looks import expect_for_everybody

NUM_STEPS = len(steps())


@pytest.fixture(scope="module")
def newcomer(new_server: Callable[..., Server]) -> Iterator[Server]:
    """A server on which nobody has trained anything."""
    server = new_server()
    server.start()
    yield server


def bar(page: Page) -> Locator:
    return page.locator(".st-key-tour_bar")


def link(page: Page, name: str) -> Locator:
    return bar(page).get_by_role("link", name=name, exact=True)


def expect_step(page: Page, number: int) -> Step:
    """Waits for a step: its page, its bar, and its target in view, not hidden by the bar."""
    step = steps()[number - 1]
    expect(bar(page)).to_contain_text(f"{step.title} · step {number} of {NUM_STEPS}")
    expect(page.get_by_role("heading", level=1)).to_have_text(step.page.capitalize())
    target = page.locator(f".st-key-{step.target}")
    expect(target).to_be_in_viewport()
    settle(page)
    page.wait_for_function(
        """([target, bar]) => {
            const [below, above] = [target, bar].map((key) => document.querySelector(key).getBoundingClientRect());
            return below.top >= above.bottom && below.top < innerHeight / 2;
        }""",
        arg=[f".st-key-{step.target}", ".st-key-tour_bar"],
    )
    values = step_params(number).items()
    until(lambda: values <= dict(parse_qsl(urlsplit(page.url).query)).items(), f"the address has {values}")
    return step


def test_a_link_to_a_step_leads_to_the_end_of_the_tour_which_is_left_and_resumed(page: Page, newcomer: Server) -> None:
    page.goto(f"{newcomer.address}/?tour=6")
    highlights = read_highlights()
    for number in range(6, NUM_STEPS + 1):
        step = expect_step(page, number)
        if step.action:
            link(page, step.action[0]).click()
            expect(bar(page)).to_contain_text(f"to {highlights.probability_masked:.1%}")
            expect(page.get_by_text("With 1 patch masked: Predicted:")).to_be_visible()
        if number < NUM_STEPS:
            link(page, "Next").click()
    link(page, "Back").click()
    expect_step(page, NUM_STEPS - 1)
    link(page, "Leave the tour").click()
    expect(bar(page)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("tour="))
    page.get_by_role("link", name=f"Resume the tour: step {NUM_STEPS - 1}").click()
    expect_step(page, NUM_STEPS - 1)
    page.reload()
    expect_step(page, NUM_STEPS - 1)


def test_every_patch_s_multiplication_is_shown_where_the_pointer_is_and_by_keys(page: Page, newcomer: Server) -> None:
    page.goto(f"{newcomer.address}/?tour=3")
    expect_step(page, 3)
    patch = read_highlights().patch
    expect(page.locator(".softmax").get_by_text("uniform 1/65 = 1.5%")).to_be_visible()
    expect(page.get_by_text("The 65 weights of CLS, CLS first: 1.00 in sum.")).to_be_visible()
    for strip in page.locator(".softmax .strip canvas").all():  # of the patch's token and of CLS
        assert (painted(strip)[..., 3] == 255).all()
    picture = page.get_by_role("application", name="The patches of the image. Arrow keys move over them.")
    region = page.get_by_role("region", name="Query, key and their products")
    keys = region.get_by_role("rowheader")
    expect(keys).to_have_text(["query of CLS", f"key of p{patch}", "product"])
    query, key, product = (numbers(region.locator("tr").nth(row)) for row in range(3))
    assert len(product) == 8
    assert product == pytest.approx([q * k for q, k in zip(query, key, strict=True)], abs=0.05)
    box = picture.bounding_box()
    assert box
    picture.hover(position={"x": box["width"] * 0.5 / 8, "y": box["height"] * 0.5 / 8})
    expect(keys.nth(1)).to_have_text("key of p0")
    page.mouse.move(0, 0)
    expect(keys.nth(1)).to_have_text(f"key of p{patch}")
    picture.focus()
    picture.press("ArrowLeft")
    expect(keys.nth(1)).to_have_text(f"key of p{patch - 1}")
    expect(page).to_have_url(re.compile(rf"[?&]patch=p{patch - 1}(&|$)"))
    expect(page.get_by_role("status").filter(has_text=f"p{patch - 1}: score")).to_have_count(1)


def numbers(row: Locator) -> list[float]:
    return [float(text.replace("−", "-")) for text in row.locator("td").all_inner_texts()]


@pytest.mark.parametrize("number", [0, 1, 3, 5, 7])
def test_home_and_the_tour_move_nothing_and_are_for_everybody_where_there_is_no_run(
    visitor: Page, newcomer: Server, number: int
) -> None:
    visitor.goto(f"{newcomer.address}/" + (f"?tour={number}" if number else ""))
    if number:
        expect(bar(visitor)).to_contain_text(f"step {number} of {NUM_STEPS}")
        expect(link(visitor, "Next")).to_be_in_viewport()
    expect(visitor.get_by_role("heading", level=1)).to_be_visible()
    expect_for_everybody(visitor)


# Of the element with the focus: its name, whether the focus is marked (a table paints that itself, in its canvas), and
# whether the tour's bar covers it
FOCUS = """() => {
    let at = document.activeElement;
    while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    const parents = [at];
    while (parents.length < 5 && parents.at(-1).parentElement) parents.push(parents.at(-1).parentElement);
    const around = parents.map((node) => getComputedStyle(node));
    const hasBorder = (style) => at.matches("input") && style.borderColor.includes("rgb(85, 70, 214)"); // the accent
    const hasOutline = (style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    const isMarked = !!at.closest("canvas") || around.some((style, i) =>
        hasBorder(style) || hasOutline(style) || (i < 2 && style.boxShadow !== "none"));
    const box = at.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const bar = ".st-key-tour_bar";
    const isCovered = !!top?.closest(bar) && !at.closest(bar);
    return { name: `${at.tagName} ${at.ariaLabel ?? at.innerText ?? ""}`.slice(0, 80), isMarked, isCovered };
}"""


def tab_to(page: Page, target: Locator, max_stops: int = 100) -> None:
    """Presses Tab until `target` has the focus; at each stop the focus is marked, and nothing lies over it."""
    expect(target).to_be_visible()
    drawn(page)
    for _ in range(max_stops):
        if target.evaluate("(node) => node.getRootNode().activeElement === node"):
            return
        page.keyboard.press("Tab")
        page.wait_for_function(NO_TRANSITION)
        focus = page.evaluate(FOCUS)
        assert focus["name"].startswith("BODY") or (focus["isMarked"] and not focus["isCovered"]), focus
    raise AssertionError(f"{target} has no focus after {max_stops} stops")


def scrolled_up(page: Page) -> bool:
    """Turns the wheel, and whether the page is at its top; Chromium may lose a turn while the page is busy."""
    page.mouse.wheel(0, -10_000)
    settle(page)
    return bool(page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop === 0"))


def test_the_keyboard_alone_leads_from_home_through_the_tour_to_a_mistake_of_an_own_model(
    page: Page, newcomer: Server
) -> None:
    newcomer.open(page)
    expect(page.get_by_role("img", name="Attention at epoch")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="Take the tour"))
    page.keyboard.press("Enter")
    for number in range(1, 5):
        expect_step(page, number)
        if number == 1:  # a look at the image above; the next step explains the same section
            page.mouse.move(640, 600)
            until(lambda: scrolled_up(page), "the page is at its top")
        tab_to(page, link(page, "Next"))
        page.keyboard.press("Enter")
    expect_step(page, 5)
    tab_to(page, page.get_by_role("button", name="Start training"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"run=\d{8}-"))
    expect(page.get_by_role("paragraph").get_by_text("done")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="See mistakes"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Predictions")
    tab_to(page, page.get_by_role("group", name="Test images").get_by_role("button", name="incorrect").first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Attention")
    before = page.locator(".inspector").get_by_text("untrained", exact=True)
    expect(before.first).to_be_visible()  # beside the picture after training
    tab_to(page, page.get_by_role("application", name=re.compile("^Image ")))
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("token=p0"))
