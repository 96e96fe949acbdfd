"""Names from outside, and a sentence about them where something is wrong with their folder."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from minivit.runs import Run
from tests.browser.browsing import choose, settle
from tests.browser.conftest import HOSTILE
from tests.browser.server import Server


def fill(page: Page, kind: str, name: str, value: object) -> None:
    box = page.get_by_role(kind, name=name)  # type: ignore[arg-type]
    box.fill(str(value))
    box.press("Enter")
    settle(page)


def test_names_from_outside_are_shown_as_they_are_on_every_page(
    page: Page, server: Server, hostile_run: Run, hostile_pictures: Path, tmp_path: Path
) -> None:
    shown = {
        "": page.get_by_text(f"{HOSTILE[0]} · {HOSTILE[1]}"),
        "predictions": page.get_by_text(f"T: {HOSTILE[1]}", exact=True),
        "attention": page.get_by_text(
            re.compile(rf"^Predicted: .* True class: ({'|'.join(map(re.escape, HOSTILE))})\.$")
        ),
        "compare": page.get_by_role("button", name=re.compile(f": {re.escape(HOSTILE[1])}; untrained: ")),
        "train": page.get_by_text("done"),
        "data": page.get_by_text("Samples of each class"),
    }
    for name, names in shown.items():
        server.open(page, name, run=hostile_run.id)
        expect(names.first).to_be_visible()
        expect_no_markup(page)
        if name in ("predictions", "attention", "compare", "train"):
            run = page.get_by_role("combobox", name="Run", exact=True)
            expect(run).to_have_value(re.compile(re.escape(f"{HOSTILE[0]} · {HOSTILE[1]}")))
    choose(page, "Data set", "Your own images (folder)")
    fill(page, "textbox", "Folder", hostile_pictures)
    for name in HOSTILE:
        expect(page.get_by_role("group", name="Selected values").get_by_text(name, exact=True)).to_be_visible()
        expect(page.get_by_role("group", name="Samples").get_by_text(name, exact=True).first).to_be_visible()
    expect_no_markup(page)
    a_folder_without_images_is_reported_and_corrected_in_place(page, hostile_run, tmp_path / "empty", hostile_pictures)


def a_folder_without_images_is_reported_and_corrected_in_place(
    page: Page, run: Run, empty: Path, pictures: Path
) -> None:
    (empty / HOSTILE[0]).mkdir(parents=True)
    page.get_by_role("region", name="Sidebar").get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
    expect(page).to_have_url(re.compile(rf"train\?run={run.id}$"))  # the menu stays with the run
    settle(page)
    fill(page, "textbox", "Folder", empty)
    expect(page.get_by_role("alert")).to_contain_text(f"These contain no images: {HOSTILE[0]}.")
    expect_no_markup(page)
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    expect(page.get_by_role("slider", name="loss by epoch")).to_be_visible()
    fill(page, "textbox", "Folder", pictures)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("button", name="Start training")).to_be_visible()


def expect_no_markup(page: Page) -> None:
    """Nothing in a name has become an image, a link, bold or colored text, code or a formula."""
    for tag in ("img[src=x]", "a[href^='http:x']", "strong", "code", ".katex"):
        expect(page.get_by_role("main").locator(tag).filter(has_text=re.compile("^(bold|x|l|c|)$"))).to_have_count(0)
    expect(page.get_by_text("😄")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)
