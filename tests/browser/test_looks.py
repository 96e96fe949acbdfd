"""Every page for everybody: no broken accessibility rule of ours, light and dark, wide and as narrow as a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from minivit.runs import Run
from tests.browser.conftest import Server, settle, watched

PAGES = ["", "data", "train", "predictions", "attention", "compare", "anatomy", "runs"]
STREAMLITS = {"list", "listitem", "svg-img-alt"}  # broken in its own sidebar and in the curve of its metrics


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_breaks_a_rule_of_accessibility_or_scrolls_sideways(
    browser: Browser, server: Server, trained_run: Run, theme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    broken = []
    with watched(page):
        for name in PAGES:
            server.open(page, name, run=trained_run.id)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            settle(page)
            for _ in range(3):  # what is being drawn anew is faded for a moment
                found = [v for v in Axe().run(page).response["violations"] if v["id"] not in STREAMLITS]
                if not found:
                    break
                page.reload()
                settle(page)
            broken += [(name, v["id"], [node["html"][:160] for node in v["nodes"][:3]]) for v in found]
            sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if sideways > 0:
                broken.append((name, "scrolls sideways", [f"{sideways} px"]))
    context.close()
    assert not broken, broken
