"""Data: counts and samples of what was chosen; folders that cannot be are told and can be mended."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pages.parts.data.samples import AUGMENTATIONS
from tests.app.conftest import Open, errors, widget


def test_counts_samples_and_patches_follow_what_was_chosen(open_page: Open) -> None:
    page = open_page("data")
    widget(page, "multiselect", "Classes").set_value(["star", "circle"]).run()
    counts = page.dataframe[0].value
    assert counts["class"].tolist() == ["star", "circle"]
    assert counts["label"].tolist() == [0, 1]
    assert (counts["train"] + counts["test"]).tolist() == [1500, 1500]

    def caption() -> str:
        return page.image[1].captions[0]

    assert caption().startswith("64 patches, p0 to p63 row by row; each has 48 values (3 × 4 × 4).")
    widget(page, "select_slider", "Patch size").set_value(8).run()
    assert caption().startswith("16 patches, p0 to p15 row by row; each has 192 values (3 × 8 × 8).")
    assert not errors(page)


def test_each_augmentation_is_shown_on_the_samples_as_it_looks(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    means: dict[str, float] = {}
    monkeypatch.setattr("pages.parts.data.samples.gallery", lambda images, *_, **__: means.update({how: images.mean()}))
    how = "none"
    page = open_page("data")
    for how, sentence in AUGMENTATIONS.items():
        widget(page, "selectbox", "Augmentation").select(how).run()
        assert not errors(page) and sentence in [caption.value for caption in page.caption]
    assert means["mixup"] == pytest.approx(means["none"], rel=0.1) == means["cutmix"]  # each has the others' parts


def test_a_folder_is_requested_before_anything_is_read(open_page: Open) -> None:
    page = open_page("data")
    widget(page, "selectbox", "Data set").select("folder").run()
    assert [info.value for info in page.info] == [
        r"Enter the path of a folder that contains one folder of images per class\."
    ]
    assert not page.dataframe and not errors(page)


def test_invalid_folders_are_reported_and_can_be_corrected_in_place(
    open_page: Open, image_folder: Path, tmp_path: Path
) -> None:
    good = image_folder / "train"
    one_class, empty_class, file = tmp_path / "one", tmp_path / "empty", good / "star" / "0001.png"
    shutil.copytree(good / "star", one_class / "star")
    shutil.copytree(good / "star", empty_class / "star")
    (empty_class / "nothing").mkdir()
    (tmp_path / "bare").mkdir()
    file = next((good / "star").iterdir())
    sentences = {
        tmp_path / "missing": f"There is no folder {tmp_path / 'missing'}. Check the path of the data folder.",
        one_class: f"{one_class} contains 1 class folder, 'star'; a classifier needs at least 2. "
        "Add one folder per class.",
        empty_class: f"{empty_class} contains 1 class folder, 'star'; a classifier needs at least 2. "
        "Add one folder per class. These contain no images: nothing.",
        tmp_path / "bare": f"{tmp_path / 'bare'} contains no class folders with images. Add at least 2, one per class.",
        file: f"{file} is a file. Choose the folder that contains one folder of images per class.",
        "x" * 5000: None,
        "a\0b": None,
    }
    for name in ("data", "train"):
        page = open_page(name)
        widget(page, "selectbox", "Data set").select("folder").run()
        for path, sentence in sentences.items():
            widget(page, "text_input", "Folder").set_value(str(path)).run()
            (error,) = errors(page)
            assert sentence is None or error == sentence
            assert all(element.disabled for element in page.button if element.label == "Start training")
        widget(page, "text_input", "Folder").set_value(f"  {good} ").run()
        assert not errors(page)


def test_files_that_cannot_be_read_are_named_and_left_out(open_page: Open, image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder / "train", tmp_path / "images")
    broken = tmp_path / "images" / "star" / "<b>.png"
    broken.write_bytes(b"no picture")
    page = open_page("data")
    widget(page, "selectbox", "Data set").select("folder").run()
    widget(page, "text_input", "Folder").set_value(str(tmp_path / "images")).run()
    (remarks,) = [code.value for code in page.code]
    assert remarks.splitlines()[-1].startswith(f"Cannot be decoded: {broken}: not a PNG, JPEG")
    assert page.dataframe[0].value["train"].sum() + page.dataframe[0].value["test"].sum() == 90


@pytest.mark.parametrize("image", ["99", "-1", "x", "9" * 5000])
def test_nonsense_in_a_link_shows_the_first_image(open_page: Open, image: str) -> None:
    assert not errors(open_page("data", image=image))


def test_a_class_that_vanishes_while_the_page_is_open_is_left_out(
    open_page: Open, image_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(image_folder / "train", tmp_path / "images")
    page = open_page("data")
    widget(page, "selectbox", "Data set").select("folder").run()
    widget(page, "text_input", "Folder").set_value(str(tmp_path / "images")).run()
    widget(page, "multiselect", "Classes").set_value(["star", "cross", "circle"]).run()
    shutil.rmtree(tmp_path / "images" / "cross")
    page.run()
    assert not page.exception
    assert "cross" not in widget(page, "multiselect", "Classes").options


def test_the_sizes_of_the_files_stand_beside_their_numbers(open_page: Open, tmp_path: Path) -> None:
    for name, sizes in {"a": [(40, 30), (40, 30), (400, 20)], "b": [(64, 64)] * 3}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            Image.new("RGB", size).save(tmp_path / "photos" / name / f"{number}.png")
    page = open_page("data")
    widget(page, "selectbox", "Data set").select("folder").run()
    widget(page, "text_input", "Folder").set_value(str(tmp_path / "photos")).run()
    table = next(element.value for element in page.dataframe if "class" in element.value)
    assert table["original size (px)"].tolist() == ["40 × 30", "64 × 64"] and not errors(page)
