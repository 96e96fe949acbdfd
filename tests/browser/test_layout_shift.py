"""Nothing moves while a page loads: the sum of its layout shifts (web.dev/articles/cls; below 0.1 is good)."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import Browser, Route, expect

from minivit.runs import Run
from tests.browser.browsing import drawn
from tests.browser.server import Server

PAGES = ("", "data", "train", "sweeps", "predictions", "attention", "compare", "anatomy", "runs")
AGAIN = ("", "train", "attention")  # a second visit finds its scripts in the browser's cache
MAX_SHIFT = 0.05
OBSERVE = """
window.shift = 0;
const add = (list) => list.getEntries().forEach((entry) => (window.shift += entry.hadRecentInput ? 0 : entry.value));
new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(window.shift))))"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_moves_while_a_page_loads_for_the_first_or_the_second_time(
    browser: Browser, server: Server, trained_run: Run, width: int
) -> None:
    links = [f"{name}?run={trained_run.id}" if name else "" for name in (*PAGES, *AGAIN)]
    shifts = layout_shifts(browser, server, links, width)
    assert all(shift <= MAX_SHIFT for _, shift in shifts), shifts


def layout_shifts(browser: Browser, server: Server, links: Sequence[str], width: int) -> list[tuple[str, float]]:
    """Each link of a new visitor and the layout shift of its page."""
    with browser.new_context(viewport={"width": width, "height": 800}) as visitor:
        visitor.add_init_script(OBSERVE)
        page, shifts = visitor.new_page(), []
        for link in links:
            page.goto(f"{server.address}/{link}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            drawn(page)
            shifts.append((link, page.evaluate(TWO_FRAMES)))
    return shifts


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_moves_when_the_pictures_come_last(browser: Browser, server: Server, width: int) -> None:
    late: list[Route] = []
    with browser.new_context(viewport={"width": width, "height": 800}) as visitor:
        visitor.add_init_script(OBSERVE)
        page = visitor.new_page()
        page.route("**/media/*.png*", lambda route: late.append(route))
        page.goto(f"{server.address}/data")
        expect(page.get_by_alt_text("The same image cut into patches")).to_be_attached()
        drawn(page)
        while not page.evaluate("[...document.images].every((image) => image.complete)"):
            while late:
                late.pop().continue_()
        assert page.evaluate(TWO_FRAMES) <= MAX_SHIFT
