"""What a person can get wrong: a sentence with the value, on the page itself, and mended right there."""

import re
import shutil
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


def expect_sentence(page: Page, sentence: str) -> None:
    """The sentence, and neither a traceback nor a way to start."""
    expect(page.get_by_role("alert")).to_have_text(re.compile(re.escape(sentence)))
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()


def test_an_invalid_folder_is_reported_and_corrected_in_place(
    page: Page, server: Server, pictures: Path, tmp_path: Path
) -> None:
    runs = [run.id for run in server.all_runs()]
    (tmp_path / "lonely" / "cat").mkdir(parents=True)
    for name in ("cat", HOSTILE[0]):
        (tmp_path / "empty" / name).mkdir(parents=True)
    a_file = next(pictures.glob("star/*"))
    shutil.copy(a_file, tmp_path / "lonely" / "cat")
    server.open(page, "train")
    choose(page, "Data set", "Your own images (folder)")
    fill(page, "textbox", "Folder", "")  # that of the newest run
    expect(page.get_by_text("Enter the path of a folder that contains one folder of images per class.")).to_be_visible()
    for path, sentence in {
        tmp_path / "missing": f"There is no folder {tmp_path / 'missing'}. Check the path of the data folder.",
        a_file: f"{a_file} is a file. Choose the folder that contains one folder of images per class.",
        tmp_path / "lonely": f"{tmp_path / 'lonely'} contains 1 class folder, 'cat'; a classifier needs at least 2.",
        tmp_path
        / "empty": f"{tmp_path / 'empty'} contains no class folders with images. Add at least 2, one per class. "
        f"These contain no images: {HOSTILE[0]}, cat.",
    }.items():
        fill(page, "textbox", "Folder", path)
        expect_sentence(page, sentence)
    expect(page.get_by_role("slider", name="loss by epoch")).to_be_visible()  # the other half of the page goes on
    fill(page, "textbox", "Folder", pictures)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    assert [run.id for run in server.all_runs()] == runs  # looking for a folder starts nothing


def test_invalid_settings_are_reported_with_their_values_and_corrected_in_place(page: Page, server: Server) -> None:
    runs = [run.id for run in server.all_runs()]
    server.open(page, "train")
    page.get_by_text("More settings", exact=True).click()
    choose(page, "Data set", "Synthetic shapes")  # which leaves them open
    fill(page, "spinbutton", "Patch size", 5)
    expect_sentence(page, "A patch size of 5 px does not divide the image size of 32 px. Choose one of 2, 4, 8, 16.")
    fill(page, "spinbutton", "Patch size", 8)
    fill(page, "spinbutton", "Heads", 3)
    expect_sentence(page, "3 heads do not divide an embedding dimension of 64. Choose one of 1, 2, 4, 8, 16, 32 heads")
    fill(page, "spinbutton", "Heads", 4)
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    for name in ("square", "triangle", "star"):
        page.get_by_role("button", name=f"Remove {name}").click()
    expect_sentence(
        page, "A classifier needs at least 2 classes, and only 'circle' is selected. Select at least two classes."
    )
    choose(page, "Classes", "heart")
    page.keyboard.press("Escape")  # the list of classes stays open for more
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    expect(page.get_by_role("spinbutton", name="Heads")).to_have_value("4")  # the rest is kept
    assert [run.id for run in server.all_runs()] == runs


def test_names_from_outside_are_shown_as_they_are_on_every_page(
    page: Page, server: Server, hostile_run: Run, hostile_pictures: Path
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


def expect_no_markup(page: Page) -> None:
    """Nothing in a name has become an image, a link, bold or colored text, code or a formula."""
    for tag in ("img[src=x]", "a[href^='http:x']", "strong", "code", ".katex"):
        expect(page.get_by_role("main").locator(tag).filter(has_text=re.compile("^(bold|x|l|c|)$"))).to_have_count(0)
    expect(page.get_by_text("😄")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)
