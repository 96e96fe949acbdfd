"""What a person can get wrong: a sentence with the value, on the page itself, and mended right there."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, choose, draw_folder, settle

HOSTILE = ("<img src=x onerror=alert(1)>", "**bold** :red[x] $x$ [l](http:x) `c`")


@pytest.fixture(scope="module")
def form(new_server: Callable[..., Server]) -> Iterator[Server]:
    server = new_server()
    server.start()
    yield server


def type_folder(page: Page, path: object) -> None:
    page.get_by_role("textbox", name="Folder").fill(str(path))
    page.keyboard.press("Enter")
    settle(page)


def expect_sentence(page: Page, *words: str) -> None:
    sentence = page.get_by_role("alert").filter(has_text=re.compile(".*".join(map(re.escape, words)), re.S))
    expect(sentence).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_role("button", name="Train this model")).to_have_count(0)


def test_a_wrong_folder_is_named_and_mended_in_place(page: Page, form: Server, pictures: Path, tmp_path: Path) -> None:
    form.open(page, "train")
    choose(page, "Data set", "Images of a folder")
    expect(page.get_by_text("Type the path of a folder")).to_be_visible()
    type_folder(page, tmp_path / "nowhere")
    expect_sentence(page, "There is no folder", "nowhere")
    (tmp_path / "file.txt").write_text("no folder")
    type_folder(page, tmp_path / "file.txt")
    expect_sentence(page, "file.txt", "is a file")
    (tmp_path / "lonely" / "cat").mkdir(parents=True)
    type_folder(page, tmp_path / "lonely")
    expect_sentence(page, "1 class folder", "at least 2")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "dog").mkdir(parents=True)
    type_folder(page, tmp_path / "empty")
    expect_sentence(page, "cat", "holds no")
    type_folder(page, pictures)
    expect(page.get_by_role("button", name="Train this model")).to_be_visible()
    assert form.all_runs() == []  # looking for a folder starts nothing


def test_settings_that_cannot_be_are_refused_by_name_and_mended_in_place(page: Page, form: Server) -> None:
    form.open(page, "train")
    choose(page, "Data set", "Shapes, drawn here")
    page.get_by_text("Model", exact=True).click()
    patch, heads = page.get_by_role("spinbutton", name="Patch size"), page.get_by_role("spinbutton", name="Heads")
    patch.fill("5")
    page.keyboard.press("Enter")
    expect_sentence(page, "5 px", "32 px", "4, 8, 16")
    patch.fill("8")
    page.keyboard.press("Enter")
    heads.fill("3")
    page.keyboard.press("Enter")
    expect_sentence(page, "3 heads", "64")
    heads.fill("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Train this model")).to_be_visible()
    for name in ("square", "triangle", "star"):
        page.get_by_role("button", name=f"Remove {name}").click()
        settle(page)
    expect_sentence(page, "at least 2 classes", "'circle'")
    assert form.all_runs() == []


def test_names_from_outside_are_shown_as_they_are_on_every_page(
    page: Page, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    root = draw_folder(tmp_path / "pictures", HOSTILE, 60)
    server = new_server()
    server.command("train", "--dataset", "folder", "--data-dir", str(root), "--epochs", "1", "--threads", "1")
    server.start()
    (run,) = server.all_runs()
    assert set(run.config.classes) == set(HOSTILE)
    for name in ("train", "predictions", "attention", "compare", "runs", ""):
        server.open(page, name, run=run.id)
        for tag in ("img[src='x']", "a[href='http:x']"):
            expect(page.locator(tag)).to_have_count(0)
        expect(page.get_by_test_id("stException")).to_have_count(0)
    server.open(page, "predictions", run=run.id)
    for name in HOSTILE:
        expect(page.get_by_text(f"T: {name}", exact=True).first).to_be_visible()
    server.open(page, "data")
    choose(page, "Data set", "Images of a folder")
    type_folder(page, root)
    expect(page.get_by_role("group", name="Samples").get_by_text(HOSTILE[0], exact=True).first).to_be_visible()
