"""A user's own photographs, from a .zip to a map of attention, by the browser alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.browsing import choose, drawn, settle
from tests.browser.conftest import draw_folder
from tests.browser.server import Server, until


def test_a_zip_of_photographs_is_unpacked_trained_on_and_looked_at(
    page: Page, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    draw_folder(tmp_path / "photos" / "pets", ("cat", "dog", "<b>frog"), 67)
    (tmp_path / "photos" / "pets" / "cat" / "notes.txt").touch()
    archive = shutil.make_archive(str(tmp_path / "my photos"), "zip", tmp_path / "photos")
    server = new_server(data=tmp_path / "data")
    server.start()
    server.open(page, "data")
    page.get_by_text("Upload your photos").click()
    page.locator(".st-key-data_zip input[type=file]").set_input_files(archive)
    page.get_by_role("button", name="Unpack").click()
    expect(page.get_by_text("201 images were added to my photos.")).to_be_visible()
    expect(page.get_by_text("1 .txt files, such as pets/cat/notes.txt")).to_be_visible()
    drawn(page)
    expect(page.get_by_role("group", name="Samples", exact=True)).to_be_visible()
    page.get_by_role("region", name="Sidebar").get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
    settle(page)
    expect(page.get_by_role("combobox", name="Data set")).to_have_value("my photos (uploaded)")
    choose(page, "Preset", "quick")
    page.get_by_role("button", name="Start training").click()
    until(lambda: server.all_runs() and server.all_runs()[0].state.phase == "done", "the training is done")
    page.get_by_role("link", name="Attention").last.click()
    expect(page.get_by_text("True class: <b>frog").or_(page.get_by_text("True class: cat")).first).to_be_visible()
    expect(page.get_by_role("application")).to_be_visible()
