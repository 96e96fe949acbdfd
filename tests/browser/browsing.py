"""What a person does in a browser, and what a page must not do meanwhile."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

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


def drawn(page: Page) -> None:
    """Waits until the page stands still: nothing is drawn anew or fades, and no part is still to be loaded."""
    settle(page)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # parts that load late, the style sheet among them
    page.wait_for_function(NO_TRANSITION)


def broken_rules(page: Page, context: str | None = None) -> list[tuple[str, list[str]]]:
    """Rules of accessibility that the page as it stands breaks, inside `context` where given, and the places."""
    drawn(page)
    response = Axe().run(page, context=context).response
    assert response["passes"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in response["violations"]]


def choose(page: Page, label: str, option: str | re.Pattern[str]) -> None:
    """Chooses one option of a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


@contextlib.contextmanager
def watched(page: Page, *also: str) -> Iterator[None]:
    """Fails on an error in the console, a failed request, a dialog, or a look at the net, while inside.

    `also` are beginnings of addresses that may be looked at besides the server's.
    """
    wrong: list[str] = []
    overtaken: list[str] = []  # a picture of a run of the script that a newer one overtook is gone; nobody sees it
    ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:", "about:", *also)

    def is_probe(url: str) -> bool:
        return bool(re.fullmatch(rf"http://127\.0\.0\.1:\d+{PROBES}", url))

    def is_media(url: str) -> bool:
        return bool(re.fullmatch(r"http://127\.0\.0\.1:\d+/media/\w+\.png(\?\d)?", url))

    def on_console(message: Any) -> None:
        if message.type == "error" and not is_probe(message.location["url"]) and not is_media(message.location["url"]):
            wrong.append(f"console: {message.text} ({message.location['url']})")

    def on_response(response: Any) -> None:
        if is_media(response.url):  # which may come at a second attempt
            name = Path(response.url.split("?")[0]).name
            overtaken[:] = [other for other in overtaken if other != name] + [name] * (response.status == 404)
        elif response.status >= 400 and not is_probe(response.url):
            wrong.append(f"status {response.status}: {response.url}")

    def on_failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # a person left before it came
            wrong.append(f"failed: {request.url} {request.failure}")

    page.on("console", on_console)
    page.on("response", on_response)
    page.on("requestfailed", on_failed)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith(ours) or wrong.append(f"away: {request.url}"))
    page.on("websocket", lambda socket: socket.url.startswith(ours) or wrong.append(f"away: {socket.url}"))
    yield
    shown = "" if page.is_closed() else page.evaluate(SHOWN)
    assert not wrong + [name for name in overtaken if name in shown], wrong
