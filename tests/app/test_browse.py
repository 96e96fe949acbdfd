"""Images chosen in the folder browser, and images whose loading the user canceled."""

from pathlib import Path

import pytest

from minivit.config import preset
from pages.parts.shell import cache
from tests.app.conftest import Open, button, errors, widget
from tests.app.train_form import START, on_folder


def test_a_folder_is_chosen_step_by_step_with_its_counts(
    open_page: Open, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVIT_ROOTS", str(image_folder.parent))
    page = open_page("train")
    page.session_state["settings_browse"] = True
    widget(page, "selectbox", "Data set").select("folder").run()
    assert button(page, START).disabled
    widget(page, "selectbox", "Open a folder").select(image_folder).run()
    counts = next(text.value for text in page.text if "folders with images" in text.value)
    assert counts.startswith("3 folders with images: circle ")
    button(page, "Use this folder").click().run()
    assert widget(page, "text_input", "Folder").value == str(image_folder) and not button(page, START).disabled


def test_images_whose_loading_was_canceled_are_loaded_again_by_one_click(open_page: Open, image_folder: Path) -> None:
    page = on_folder(open_page("train"), image_folder)
    config = preset("article").changed(
        dataset="folder", data_dir=str(image_folder), classes=("circle", "cross", "star")
    )
    page.session_state[cache.CANCELED] = cache._images_key(config)
    assert errors(page.run())[0].startswith("Loading the images was canceled.") and button(page, START).disabled
    widget(page, "multiselect", "Classes").set_value(["star", "cross"]).run()
    assert not errors(page)
    widget(page, "multiselect", "Classes").set_value(["circle", "cross", "star"]).run()
    assert errors(page)
    button(page, "Load the images").click().run()
    assert not errors(page) and not button(page, START).disabled
