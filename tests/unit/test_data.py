"""Real trees of images, their cache, and what can be wrong with them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import fill, picture, pixels
from PIL import Image, ImageOps

from minivit import data
from minivit.data import decode, load_images
from minivit.errors import DataError

pytestmark = pytest.mark.usefixtures("own_data")


# A person's own folder


def test_a_tree_of_class_folders_becomes_images_labels_and_classes(pets: Path) -> None:
    fill(pets, dog=3, cat=2)
    images, labels, classes = load_images("folder", data_dir=str(pets))
    assert (images.dtype, images.shape, labels.dtype) == (torch.uint8, (5, 3, 32, 32), torch.int64)
    assert classes == ("cat", "dog") and labels.tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(images[4], pixels(pets / "dog/2.png"))


def test_the_chosen_order_of_classes_changes_labels_but_not_the_order_of_images(pets: Path) -> None:
    fill(pets, ant=2, bee=2, cow=2)
    there = load_images("folder", data_dir=pets, classes=["ant", "cow"])
    back = load_images("folder", data_dir=pets, classes=["cow", "ant"])
    assert torch.equal(there.images, back.images)
    assert there.labels.tolist() == [0, 0, 1, 1] and back.labels.tolist() == [1, 1, 0, 0]
    assert back.classes == ("cow", "ant") and back.counts == {"cow": 2, "ant": 2}


def test_files_are_sorted_in_natural_order_and_the_limit_keeps_the_first(pets: Path) -> None:
    fill(pets, cat=11, dog=1)
    images = load_images("folder", data_dir=pets, images_per_class=3).images
    for number in range(3):
        assert torch.equal(images[number], pixels(pets / f"cat/{number}.png"))
    assert torch.equal(load_images("folder", data_dir=pets).images[10], pixels(pets / "cat/10.png"))  # after 9.png


def test_all_four_endings_in_any_case_and_depth_are_read_and_hidden_files_are_not(pets: Path) -> None:
    fill(pets, cat=1, dog=1)
    for name in ("A.PNG", "b.jpg", "c.JPEG", "deep/er/d.webp"):
        (pets / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(7).save(pets / "cat" / name)
    for name in (".hidden.png", "notes.txt", ".thumbs/x.png"):
        (pets / "cat" / name).parent.mkdir(exist_ok=True)
        (pets / "cat" / name).write_bytes(b"no image")
    (pets / ".git").mkdir()
    image_set = load_images("folder", data_dir=pets)
    assert image_set.counts == {"cat": 5, "dog": 1} and image_set.skipped == ()


def test_class_names_may_be_any_text(pets: Path) -> None:
    names = ("Äpfel & Birnen", "猫", "🐸 frog", "a⁄b", "name with 'quotes'")
    fill(pets, **dict.fromkeys(names, 1))
    assert load_images("folder", data_dir=pets).classes == tuple(sorted(names))
    assert data.list_classes("folder", str(pets)) == tuple(sorted(names))


def test_a_photo_is_rotated_upright_and_center_cropped(pets: Path) -> None:
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste("white", (100, 0, 200, 100))  # the middle square
    wide.paste("red", (100, 0, 200, 50))  # its upper half
    turned = wide.rotate(90, expand=True)  # as a camera held upright stores it
    exif = Image.Exif()
    exif[0x0112] = 6
    fill(pets, cat=1, dog=1)
    turned.save(pets / "cat/0.png", exif=exif)
    image = load_images("folder", data_dir=pets, img_size=16).images[0].int()
    assert (image[:, :7, 1:-1] - torch.tensor([255, 0, 0])[:, None, None]).abs().max() < 3
    assert image[:, 9:, 1:-1].min() > 252


def test_a_large_jpeg_gives_what_full_decoding_gives(pets: Path) -> None:
    fill(pets, cat=1, dog=1)
    picture(3, (1200, 900)).save(pets / "cat/0.jpg", quality=95)
    decoded = decode.decode_image(pets / "cat/0.jpg", 32, 3).astype(int)
    with Image.open(pets / "cat/0.jpg") as image:
        expected = np.asarray(ImageOps.fit(image, (32, 32))).transpose(2, 0, 1).astype(int)
    assert np.abs(decoded - expected).mean() < 1.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_color_or_gray(tmp_path: Path, mode: str) -> None:
    image = picture(1, (40, 40)).convert("L")
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    gray = decode.decode_image(path, 40, 1)
    assert gray.shape == (1, 40, 40) and decode.decode_image(path, 40, 3).shape == (3, 40, 40)
    if mode not in ("1", "P"):
        assert np.abs(gray[0] - np.asarray(picture(1, (40, 40)).convert("L")).astype(int)).mean() < 4


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    icon = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    icon.save(tmp_path / "icon.png")
    icon.convert("P").save(tmp_path / "palette.png", transparency=0)
    for name in ("icon.png", "palette.png"):
        assert decode.decode_image(tmp_path / name, 8, 3).min() == 255


def test_a_file_that_cannot_be_decoded_is_named_and_does_not_stop_the_rest(pets: Path) -> None:
    fill(pets, cat=3, dog=1)
    good = (pets / "cat/0.png").read_bytes()
    (pets / "cat/half.png").write_bytes(good[: len(good) // 2])
    (pets / "cat/empty.jpg").touch()
    (pets / "cat/text.png").write_text("a letter")
    (pets / "cat/gone.png").symlink_to(pets / "nowhere.png")
    Image.new("1", (14_000, 14_000)).save(pets / "cat/bomb.png", compress_level=1)
    for _ in ("decoded", "from the cache"):
        image_set = load_images("folder", data_dir=pets)
        assert image_set.counts == {"cat": 3, "dog": 1}
        assert torch.equal(image_set.images[2], pixels(pets / "cat/2.png"))
        named = {Path(line.split(": ")[0]).name: line.split(": ", 1)[1] for line in image_set.skipped}
        assert set(named) == {"half.png", "empty.jpg", "text.png", "gone.png", "bomb.png"}
        assert "truncated" in named["half.png"] and "pixels are more than" in named["bomb.png"]
        assert named["text.png"].startswith("not a PNG, JPEG, WebP, BMP") and "No such file" in named["gone.png"]


# The cache


def cache_files(own: Path) -> list[Path]:
    return sorted((own / "cache").iterdir())


def test_the_second_load_decodes_nothing(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pets, cat=3, dog=2)
    first = load_images("folder", data_dir=pets)
    monkeypatch.setattr(decode, "decode_image", lambda *_: pytest.fail("decoded again"))
    reports: list[tuple[str, int, int]] = []
    again = load_images("folder", data_dir=pets, progress=lambda *step: reports.append(step))
    assert again.fingerprint() == first.fingerprint()
    assert reports == [("Reading cat", 3, 5), ("Reading dog", 5, 5)]


def test_a_changed_added_or_removed_file_is_seen_and_old_cache_files_do_not_pile_up(pets: Path, own_data: Path) -> None:
    fill(pets, cat=3, dog=2)
    load_images("folder", data_dir=pets)
    kept = cache_files(own_data)
    picture(99).save(pets / "cat/1.png")
    assert torch.equal(load_images("folder", data_dir=pets).images[1], pixels(pets / "cat/1.png"))
    picture(98).save(pets / "cat/3.png")
    assert load_images("folder", data_dir=pets).counts == {"cat": 4, "dog": 2}
    (pets / "cat/0.png").unlink()
    assert torch.equal(load_images("folder", data_dir=pets).images[0], pixels(pets / "cat/1.png"))
    assert cache_files(own_data) == kept


def test_size_channels_and_limit_do_not_share_a_cache_file(pets: Path) -> None:
    fill(pets, cat=3, dog=3)
    for img_size, in_chans, limit in ((32, 3, 0), (16, 3, 0), (32, 1, 0), (32, 3, 2)):
        image_set = load_images("folder", data_dir=pets, img_size=img_size, in_chans=in_chans, images_per_class=limit)
        assert image_set.images.shape == (2 * (limit or 3), in_chans, img_size, img_size)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_broken_cache_file_is_made_again(pets: Path, own_data: Path, damage: str) -> None:
    fill(pets, cat=3, dog=3)
    before = load_images("folder", data_dir=pets).fingerprint()
    for path in cache_files(own_data):
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "noise": os.urandom(500)}[damage])
    assert load_images("folder", data_dir=pets).fingerprint() == before
    assert all(path.stat().st_size > 9000 for path in cache_files(own_data))


def test_images_load_where_no_cache_can_be_written(pets: Path, own_data: Path) -> None:
    own_data.write_text("a file where the data folder should be", encoding="utf-8")
    assert len(load_images("folder", data_dir=fill(pets, cat=1, dog=1))) == 2


def test_stopping_while_images_are_read_leaves_no_cache_and_ends_soon(
    pets: Path, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pets, cat=1, dog=1)
    num_files = 40 * decode.CHUNK_PIXELS // 32**2
    for number in range(1, num_files):
        (pets / f"cat/{number}.png").hardlink_to(pets / "cat/0.png")
    decoded = []
    decode_image = decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda path, *rest: decoded.append(path) or decode_image(path, *rest))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_images("folder", data_dir=pets, progress=stop)
    assert len(decoded) < num_files and not cache_files(own_data)


# What a person can get wrong


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({}, {}, "contains no class folders"),
        ({"cat": 2}, {}, "contains 1 class folder, 'cat'; a classifier needs at least 2"),
        ({"cat": 2, "dog": 0}, {}, "contains 1 class folder, 'cat'.* These contain no images: dog"),
        ({"cat": 2, "dog": 2}, {"classes": ["cat", "cow"]}, "no class 'cow'. Choose from cat, dog"),
        ({f"c{n:02}": 1 for n in range(30)}, {"classes": ["x"]}, "c08, c09 … \\(30 in all\\)"),
        ({"cat": 2, "dog": 2}, {"classes": ["cat", "cat"]}, "'cat' is selected twice"),
        ({"cat": 2, "dog": 2}, {"classes": []}, "No class is selected"),
        ({"cat": 2, "dog": 2}, {"split": "test"}, "has no test split. Choose the split 'article'"),
        ({"cat": 2, "dog": 2}, {"in_chans": 4}, "1 channel .* or 3 .*, not 4"),
    ],
)
def test_invalid_requests_are_refused_in_a_sentence(
    pets: Path, counts: dict[str, int], options: dict[str, Any], message: str
) -> None:
    fill(pets, **counts)
    with pytest.raises(DataError, match=message):
        load_images("folder", data_dir=pets, **options)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for data_dir, sentence in (
        ("", "Specify it"),
        (tmp_path / "nowhere", "no folder .*nowhere"),
        (tmp_path / "file", "is a file"),
        (tmp_path / ("x" * 300), "cannot be read \\(File name too long\\)"),
        ("~nobody-of-that-name/pets", "no folder ~nobody"),
        ("\0", "no folder"),
    ):
        with pytest.raises(DataError, match=sentence):
            load_images("folder", data_dir=data_dir)
        assert not data.is_present("folder", str(data_dir))


def test_a_folder_without_permission_is_refused(pets: Path) -> None:
    fill(pets, cat=1, dog=1)
    pets.chmod(0)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        with pytest.raises(DataError, match=r"There is no permission to read .* Grant it"):
            load_images("folder", data_dir=pets)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        pets.chmod(0o755)


def test_a_class_without_a_readable_image_is_refused_and_one_of_them_named(pets: Path) -> None:
    fill(pets, cat=1, dog=1)
    (pets / "dog/0.png").write_text("no")
    with pytest.raises(DataError, match=r"None of the 1 images of the class 'dog' .*dog/0.png: not a PNG"):
        load_images("folder", data_dir=pets)


def test_a_set_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DataError, match=r"no data set 'mnist'. Choose from cifar10"):
        load_images("mnist")  # type: ignore[arg-type]
