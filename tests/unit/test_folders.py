"""Folders of images as people have them."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import putchunk

from minivit.config import TrainConfig, preset
from minivit.data import data_warnings, load_images, load_split
from minivit.data.decode import image_format, read_picture
from minivit.data.folder import class_folders, split_folders
from minivit.data.image_set import ImageSet
from minivit.data.load import duplicates, stratified_split
from minivit.errors import DataError
from minivit.runs import Run

Fill = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def fill(folder: Path, count: int = 3, first: int = 0) -> None:
    """Images of noise, each different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(zlib.crc32(f"{folder.name} {number}".encode())).integers(
            0, 255, (8, 8, 3), np.uint8
        )
        Image.fromarray(pixels).save(folder / f"{number}.png")


def pair(root: Path, count: int = 3) -> None:
    for name in ("cat", "frog"):
        fill(root / name, count)


def config_for(root: Path, **settings: object) -> TrainConfig:
    return preset("quick").changed(dataset="folder", data_dir=str(root), classes=("cat", "frog"), **settings)


# Parts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAIN", "VALIDATION"),
        ("train_set", "test_set"),
        ("training_set", "test_set"),
        ("train", "val"),
        ("train", "valid"),
        ("train images", "test images"),
        ("train_dataset", "test_dataset"),
        ("dataset_train", "x_test"),
        ("train2017", "val2017"),
        ("train", "holdout"),
    ],
)
def test_the_parts_may_have_any_usual_names(root: Path, train: str, test: str) -> None:
    pair(root / train, 3)
    pair(root / test, 2)
    fill(root / train, 1)  # a stray file
    fill(root / test / "bird")
    assert {split: path.name for split, path in split_folders(root).items()} == {"train": train, "test": test}
    config = config_for(root, split="official")
    train_set, test_set = load_split(config)
    assert (train_set.counts, test_set.counts) == ({"cat": 3, "frog": 3}, {"cat": 2, "frog": 2})
    lines = data_warnings(config, train_set, test_set)
    assert "Left out: bird: not used. It has no training images." in lines
    assert f"Left out: 1 beside the class folders in {root / train}, such as 0.png" in lines


def test_the_classes_of_a_part_may_be_a_folder_further_down(root: Path) -> None:
    pair(root / "seg_train" / "seg_train", 10)
    pair(root / "seg_test" / "seg_test")
    fill(root / "seg_pred")
    config = config_for(root, split="official")
    assert [each.counts for each in load_split(config)] == [{"cat": 10, "frog": 10}, {"cat": 3, "frog": 3}]
    assert "Left out: seg_pred: not used. The splits are seg_train, seg_test." in data_warnings(
        config, *load_split(config)
    )


def test_unreadable_test_images_are_named(root: Path) -> None:
    pair(root / "train")
    pair(root / "test")
    (root / "test" / "cat" / "0.png").write_bytes(b"x")
    config = config_for(root, split="official")
    assert any("0.png" in line for line in data_warnings(config, *load_split(config)))


def test_a_test_part_that_the_split_does_not_use_is_named(root: Path) -> None:
    pair(root / "train", 30)
    pair(root / "val")
    config = config_for(root)
    assert any(line.startswith("Left out: val: not used") for line in data_warnings(config, *load_split(config)))
    official = config.changed(split="official")
    assert not any("val" in line for line in data_warnings(official, *load_split(official)))


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "test", "valid"), ("train", "test/cat", "test/dog")])
def test_parts_without_class_folders_are_refused_with_advice(root: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        fill(root / part)
    with pytest.raises(DataError, match=r"train has no class folders\. Sort its images into one folder per class"):
        class_folders(root)


def test_classes_may_be_called_train_and_car(root: Path) -> None:
    fill(root / "train")
    fill(root / "car")
    assert list(class_folders(root)) == ["car", "train"]


@pytest.mark.parametrize("inside", ["PetImages", "archive/PetImages"])
def test_a_path_some_levels_too_high_names_the_folder_to_choose(root: Path, inside: str) -> None:
    pair(root / inside)
    with pytest.raises(
        DataError, match=rf"its only folder {inside} contains cat, frog\. Choose that one: .*{inside}\."
    ):
        class_folders(root)


def test_a_folder_linked_into_itself_is_one_class(root: Path) -> None:
    fill(root / "cat")
    (root / "cat" / "again").symlink_to(root / "cat")
    with pytest.raises(DataError, match="contains 1 class folder, 'cat'"):
        class_folders(root)


# What does not belong there


def test_folders_of_systems_and_empty_ones_are_no_classes(root: Path) -> None:
    pair(root)
    for junk in ("__MACOSX/cat", "$RECYCLE.BIN/x", ".ipynb_checkpoints", "@eaDir/cat"):
        fill(root / junk)
    (root / "empty").mkdir()
    assert list(class_folders(root)) == ["cat", "frog"]
    config = config_for(root)
    assert "Left out: empty: no images" in data_warnings(config, *load_split(config))


def test_files_that_are_no_images_are_counted_and_named(root: Path) -> None:
    pair(root, 30)
    for number in range(12):
        (root / "cat" / f"{number}.txt").touch()
    (root / "cat" / "Thumbs.db").touch()
    os.mkfifo(root / "frog" / "pipe.png")
    config = config_for(root)
    lines = [line for line in data_warnings(config, *load_split(config)) if line.startswith("Left out")]
    assert lines[0].startswith("Left out: cat: 12 .txt left out, such as ")
    assert lines[1:] == ["Left out: frog: 1 not a regular file left out, such as pipe.png"]


def test_linked_folders_are_entered_and_loops_end(root: Path, tmp_path: Path) -> None:
    pair(root)
    fill(tmp_path / "elsewhere", 2, first=10)
    (root / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "loop").symlink_to(root / "cat")
    assert load_images("folder", data_dir=root).counts == {"cat": 5, "frog": 3}


# Formats


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "bmp", "gif", "tif", "TIFF", "avif", "heic"])
def test_any_usual_format_is_read(root: Path, suffix: str) -> None:
    pair(root)
    form = {"jfif": "JPEG", "jpe": "JPEG", "tif": "TIFF", "heic": "HEIF"}.get(suffix, suffix.upper())
    Image.new("RGB", (32, 32), (200, 40, 90)).save(root / "cat" / f"x.{suffix}", form)
    images = load_images("folder", data_dir=root)
    assert images.counts["cat"] == 4 and not images.skipped
    assert (images.images[3].float().mean((1, 2)) - torch.tensor([200.0, 40, 90])).abs().max() < 12


def test_a_damaged_file_is_named_and_its_decoder_prints_nothing(
    root: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(root / "image.tif", compression="tiff_lzw")
    content = (root / "image.tif").read_bytes()
    (root / "image.tif").write_bytes(content[:200] + pixels.tobytes()[:200] + content[400:])
    with pytest.raises(DataError, match=r"image\.tif cannot be read: damaged\."):
        read_picture(root / "image.tif", (32, 3, None))
    assert capfd.readouterr().err == "" and not caplog.records


@pytest.mark.parametrize(("highest", "expected"), [(1.0, 255), (0.5, 127), (255.0, 255), (0.0, 0)])
def test_floating_point_images_are_read_as_shares_of_white_or_as_bytes(
    root: Path, highest: float, expected: int
) -> None:
    values = np.full((8, 8), highest, np.float32)
    values[0] = np.nan, np.inf, -np.inf, *[0] * 5
    root.mkdir()
    Image.fromarray(values).save(root / "image.tif")
    pixels = read_picture(root / "image.tif", (8, 1, None))[0, 0]
    assert pixels[1:].unique().tolist() == [expected] and pixels[0].unique().tolist() == [0]


@pytest.mark.parametrize(("highest", "expected"), [(255, 255), (4095, 255), (65535, 255), (2048, 127), (0, 0)])
def test_16_bit_gray_is_scaled_by_the_bits_that_it_uses(root: Path, highest: int, expected: int) -> None:
    pair(root)
    Image.fromarray(np.full((8, 8), highest, np.uint16)).save(root / "cat" / "9.png")
    assert load_images("folder", data_dir=root, img_size=8).images[3].unique().tolist() == [expected]


@pytest.mark.parametrize(("highest", "expected"), [(4095, [255, 127, 0]), (65535, [255, 8, 0]), (100, [100, 100, 0])])
def test_16_bit_colors_are_scaled_by_the_bits_that_they_use(root: Path, highest: int, expected: list[int]) -> None:
    root.mkdir()
    pixel = np.array([highest, min(highest, 2048), 0], ">u2").tobytes()
    with (root / "image.png").open("wb") as file:  # PIL writes no such files
        file.write(b"\x89PNG\r\n\x1a\n")
        putchunk(file, b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
        putchunk(file, b"IDAT", zlib.compress(8 * (b"\0" + 8 * pixel)))
        putchunk(file, b"IEND")
    pixels = read_picture(root / "image.png", (8, 3, None))[0]
    assert pixels.unique(dim=1).unique(dim=2).flatten().tolist() == expected


# Small sets


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_every_class_is_on_both_sides_or_the_counts_are_named(counts: list[int]) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = ImageSet(
        images=torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8),
        labels=labels,
        classes=tuple(map(str, range(len(counts)))),
    )
    if min(counts) < 2:
        with pytest.raises(DataError, match=", ".join(f"{name} {count}" for name, count in enumerate(counts))):
            stratified_split(images)
        return
    train, test = stratified_split(images)
    assert sorted(train + test) == list(range(len(labels)))
    for part in (train, test):
        assert min(images.select(part).counts.values()) >= 1
    assert abs(len(test) - 0.2 * len(labels)) <= len(counts)


def test_a_folder_is_split_by_class_and_a_run_of_an_earlier_version_as_it_was(root: Path, tmp_path: Path) -> None:
    pair(root, 20)
    run = Run.create(config_for(root), tmp_path / "runs")
    assert load_split(run.config)[1].counts == {"cat": 4, "frog": 4}
    path = run.path / "config.json"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "stratify" not in line]
    path.write_text("\n".join(lines), encoding="utf-8")
    os.utime(path, (1, 1))
    assert load_split(Run.open(run.path).config)[1].counts == {"cat": 8, "frog": 0}  # the article's split


def test_no_class_of_a_small_folder_with_a_test_part_is_without_test_images(root: Path) -> None:
    pair(root / "train", 4)
    pair(root / "dev")
    assert [each.counts for each in load_split(config_for(root))] == [{"cat": 3, "frog": 3}, {"cat": 1, "frog": 1}]


def test_few_test_images_are_pointed_out(root: Path) -> None:
    pair(root, 20)
    config = config_for(root)
    assert "There are only 8 test images" in data_warnings(config, *load_split(config))[0]


def test_duplicates_across_train_and_test_are_reported_and_left_out_on_request(root: Path) -> None:
    pair(root / "train", 10)
    pair(root / "test", 30)
    config = config_for(root, split="official")
    train_set, test_set = load_split(config)
    assert duplicates(train_set, test_set).all()  # the same seeds
    fill(root / "train" / "cat", 5, first=100)
    fill(root / "train" / "frog", 4, first=100)
    assert "20 training images are identical" in " ".join(data_warnings(config, *load_split(config)))
    kept = load_split(config.changed(drop_duplicates=True))[0]
    assert kept.counts == {"cat": 5, "frog": 4}


def test_an_image_that_would_take_too_much_memory_is_not_decoded(tmp_path: Path, tiny: TrainConfig) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match="9,000 × 9,000 pixels are more than 67 million"):
        read_picture(tmp_path / "huge.png", image_format(tiny))
