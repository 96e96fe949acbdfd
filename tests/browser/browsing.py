"""What a person does in a browser, and what a page must not do meanwhile."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NoEventError

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PROBES = r"/\w+/_stcore/(health|host-config)"  # Streamlit looks for its own address below a page's first

SHOWN = """() => {
    const all = (root) => [...root.querySelectorAll("*")].map((node) => node.shadowRoot).filter(Boolean);
    const inside = (root) => root.innerHTML + all(root).map(inside).join();
    return inside(document.documentElement);
}"""  # the page's markup, that of components included


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """The browser of this machine, without a window."""
    with sync_playwright() as playwright:
        path = os.environ.get("MINIVIT_BROWSER", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


def settle(page: Page) -> None:
    """Waits until the page's script has run to its end."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


# Transitions are ended, not waited for: on a busy machine one may take long, or start again with each rerun.
NO_TRANSITION = """() => {
    const transitions = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
    for (const transition of transitions) transition.finish();
    return transitions.length === 0;
}"""


TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(window.shift))))"


def drawn(page: Page) -> None:
    """Waits until the page stands still: nothing is drawn anew or fades, and no part is still to be loaded."""
    settle(page)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # parts that load late, the style sheet among them
    page.wait_for_function(NO_TRANSITION)
    page.evaluate(TWO_FRAMES)  # what follows a change of size


# The sum of a page's layout shifts since it was opened (web.dev/articles/cls; below 0.1 is good), as an init script
OBSERVE = """
window.shift = 0;
const add = (list) => list.getEntries().forEach((entry) => (window.shift += entry.hadRecentInput ? 0 : entry.value));
new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""
MAX_SHIFT = 0.05


def expect_nothing_moved(page: Page) -> None:
    """Nothing has moved while the page was loaded and drawn, in the tab of a `visitor`."""
    drawn(page)
    assert page.evaluate(TWO_FRAMES) <= MAX_SHIFT


def broken_rules(page: Page) -> list[tuple[str, list[str]]]:
    """Rules of accessibility that the page as it stands breaks, and the places."""
    drawn(page)
    response = Axe().run(page).response
    assert response["passes"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in response["violations"]]


def to_dark(page: Page) -> None:
    """Shows a light page dark, as Streamlit does when the system's setting changes."""
    app = page.get_by_test_id("stApp")
    light = app.evaluate("(app) => getComputedStyle(app).backgroundColor")
    page.emulate_media(color_scheme="dark")
    expect(app).not_to_have_css("background-color", light)


def choose(page: Page, label: str, option: str | re.Pattern[str]) -> None:
    """Chooses one option of a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


class Watcher:
    """Collects what a page must not do.

    `also` are beginnings of addresses that may be looked at besides the server's.
    """

    def __init__(self, *also: str) -> None:
        self.wrong: list[str] = []
        self.overtaken: list[str] = []  # a picture of a run of the script that a newer one overtook; nobody sees it
        self.ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:", "about:", *also)

    def console(self, message: Any) -> None:
        url = message.location["url"]
        if message.type == "error" and not is_probe(url) and not is_media(url):
            self.wrong.append(f"console: {message.text} ({url})")

    def response(self, response: Any) -> None:
        if is_media(response.url):  # which may come at a second attempt
            name = Path(response.url.split("?")[0]).name
            self.overtaken = [other for other in self.overtaken if other != name] + [name] * (response.status == 404)
        elif response.status >= 400 and not is_probe(response.url):
            self.wrong.append(f"status {response.status}: {response.url}")

    def missing(self, page: Page) -> list[str]:
        """The pictures that the page shows and did not get."""
        shown = page.evaluate(SHOWN) if self.overtaken and not page.is_closed() else ""
        return [name for name in self.overtaken if name in shown]

    def requestfailed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # a person left before it came
            self.wrong.append(f"failed: {request.url} {request.failure}")

    def pageerror(self, error: Any) -> None:
        self.wrong.append(f"script: {error}")

    def dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def request(self, request: Any) -> None:
        if not request.url.startswith(self.ours):
            self.wrong.append(f"away: {request.url}")

    websocket = request


EVENTS: tuple[Any, ...] = ("console", "response", "requestfailed", "pageerror", "dialog", "request", "websocket")


def is_probe(url: str) -> bool:
    return bool(re.fullmatch(rf"http://127\.0\.0\.1:\d+{PROBES}", url))


def is_media(url: str) -> bool:
    return bool(re.fullmatch(r"http://127\.0\.0\.1:\d+/media/\w+\.png(\?\d)?", url))


@contextlib.contextmanager
def watched(page: Page, *also: str) -> Iterator[None]:
    """Fails on an error in the console, a failed request, a dialog, or a look at the net, while inside."""
    watcher = Watcher(*also)
    for event in EVENTS:
        page.on(event, getattr(watcher, event))
    yield
    with contextlib.suppress(NoEventError):  # a second attempt may take a moment
        while watcher.missing(page):
            page.wait_for_event("response", predicate=lambda response: is_media(response.url), timeout=30_000)
    for event in EVENTS:
        page.remove_listener(event, getattr(watcher, event))
    problems = watcher.wrong + watcher.missing(page)
    assert not problems, problems
