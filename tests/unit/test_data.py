"""Real trees of images, real archives over a real server on this machine, and the article's split word for word."""

import gzip
import hashlib
import io
import os
import pickle  # noqa: TID251, the format of CIFAR's own files
import random
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from torchvision import datasets

from minivit import data, shapes
from minivit.config import TrainConfig
from minivit.data import ImageSet, folder, load_images, load_split
from minivit.data.batches import fit
from minivit.data.published import CIFAR100_CLASSES, PUBLISHED
from minivit.errors import DataError


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """An empty folder for a tree of images."""
    (tmp_path / "pets").mkdir()
    return tmp_path / "pets"


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A blob before a gradient, with the fine noise of a photograph."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(*rng.uniform(0, 255, (2, 3)), size[0])
    image = Image.fromarray(np.broadcast_to(ramp, (size[1], size[0], 3)).astype(np.uint8))
    corner = rng.uniform(0, 0.5, 2) * size
    ImageDraw.Draw(image).ellipse((*corner, *(corner + np.array(size) / 2)), tuple(rng.integers(0, 255, 3).tolist()))
    noisy = np.asarray(image) + rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def fill(root: Path, seed: int = 0, **counts: int) -> Path:
    """`counts[name]` PNG files in each class folder: 0.png, 1.png, …"""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            picture(seed).save(root / name / f"{number}.png")
    return root


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


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


def test_files_are_sorted_as_a_person_counts_and_the_limit_takes_the_first(pets: Path) -> None:
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
    found = load_images("folder", data_dir=pets)
    assert found.counts == {"cat": 5, "dog": 1} and found.skipped == ()


def test_class_names_may_be_any_text(pets: Path) -> None:
    names = ("Äpfel & Birnen", "猫", "🐸 frog", "a⁄b", "name with 'quotes'")
    fill(pets, **dict.fromkeys(names, 1))
    assert load_images("folder", data_dir=pets).classes == tuple(sorted(names))
    assert data.list_classes("folder", str(pets)) == tuple(sorted(names))


def test_a_photograph_is_turned_upright_and_its_middle_is_taken(pets: Path) -> None:
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
    found = folder.decode_image(pets / "cat/0.jpg", 32, 3).astype(int)
    with Image.open(pets / "cat/0.jpg") as image:
        whole = np.asarray(ImageOps.fit(image, (32, 32))).transpose(2, 0, 1).astype(int)
    assert np.abs(found - whole).mean() < 1.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_colour_or_grey(tmp_path: Path, mode: str) -> None:
    image = picture(1, (40, 40)).convert("L")
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    grey = folder.decode_image(path, 40, 1)
    assert grey.shape == (1, 40, 40) and folder.decode_image(path, 40, 3).shape == (3, 40, 40)
    if mode not in ("1", "P"):
        assert np.abs(grey[0] - np.asarray(picture(1, (40, 40)).convert("L")).astype(int)).mean() < 4


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    icon = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    icon.save(tmp_path / "icon.png")
    icon.convert("P").save(tmp_path / "palette.png", transparency=0)
    for name in ("icon.png", "palette.png"):
        assert folder.decode_image(tmp_path / name, 8, 3).min() == 255


def test_a_file_that_cannot_be_decoded_is_named_and_does_not_stop_the_rest(pets: Path) -> None:
    fill(pets, cat=3, dog=1)
    good = (pets / "cat/0.png").read_bytes()
    (pets / "cat/half.png").write_bytes(good[: len(good) // 2])
    (pets / "cat/empty.jpg").touch()
    (pets / "cat/text.png").write_text("a letter")
    (pets / "cat/gone.png").symlink_to(pets / "nowhere.png")
    Image.new("1", (14_000, 14_000)).save(pets / "cat/bomb.png", compress_level=1)
    for _ in ("decoded", "from the cache"):
        found = load_images("folder", data_dir=pets)
        assert found.counts == {"cat": 3, "dog": 1}
        assert torch.equal(found.images[2], pixels(pets / "cat/2.png"))
        named = {Path(line.split(": ")[0]).name: line.split(": ", 1)[1] for line in found.skipped}
        assert set(named) == {"half.png", "empty.jpg", "text.png", "gone.png", "bomb.png"}
        assert "truncated" in named["half.png"] and "bomb" in named["bomb.png"]
        assert named["text.png"] == "not a PNG, JPEG or WebP image" and "No such file" in named["gone.png"]


# The cache


def cache_files(own: Path) -> list[Path]:
    return sorted((own / "cache").iterdir())


def test_the_second_load_decodes_nothing(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pets, cat=3, dog=2)
    first = load_images("folder", data_dir=pets)
    monkeypatch.setattr(folder, "decode_image", lambda *_: pytest.fail("decoded again"))
    told: list[tuple[str, int, int]] = []
    again = load_images("folder", data_dir=pets, progress=lambda *step: told.append(step))
    assert again.fingerprint() == first.fingerprint()
    assert told == [("Reading cat", 3, 5), ("Reading dog", 5, 5)]


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
        found = load_images("folder", data_dir=pets, img_size=img_size, in_chans=in_chans, images_per_class=limit)
        assert found.images.shape == (2 * (limit or 3), in_chans, img_size, img_size)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_broken_cache_file_is_made_again(pets: Path, own_data: Path, damage: str) -> None:
    fill(pets, cat=3, dog=3)
    before = load_images("folder", data_dir=pets).fingerprint()
    for path in cache_files(own_data):
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": os.urandom(500)}[damage])
    assert load_images("folder", data_dir=pets).fingerprint() == before
    assert all(path.stat().st_size > 9000 for path in cache_files(own_data))


def test_images_load_where_no_cache_can_be_written(pets: Path, own_data: Path) -> None:
    own_data.write_text("a file where the data folder should be")
    assert len(load_images("folder", data_dir=fill(pets, cat=1, dog=1))) == 2


def test_stopping_while_images_are_read_leaves_no_cache_and_ends_soon(
    pets: Path, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pets, cat=1, dog=1)
    num_files = 40 * folder.CHUNK_PIXELS // 32**2
    for number in range(1, num_files):
        (pets / f"cat/{number}.png").hardlink_to(pets / "cat/0.png")
    decoded = []
    decode = folder.decode_image
    monkeypatch.setattr(folder, "decode_image", lambda path, *rest: decoded.append(path) or decode(path, *rest))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_images("folder", data_dir=pets, progress=stop)
    assert len(decoded) < num_files and not cache_files(own_data)


# What a person can get wrong


@pytest.mark.parametrize(
    ("counts", "asked", "said"),
    [
        ({}, {}, "holds no class folders"),
        ({"cat": 2}, {}, "holds 1 class folder, 'cat'; a classifier needs at least 2"),
        ({"cat": 2, "dog": 0}, {}, "class folder .*dog holds no .png"),
        ({"cat": 2, "dog": 2}, {"classes": ["cat", "cow"]}, "no class 'cow'. Choose from cat, dog"),
        ({f"c{n:02}": 1 for n in range(30)}, {"classes": ["x"]}, "c08, c09 … \\(30 in all\\)"),
        ({"cat": 2, "dog": 2}, {"classes": ["cat", "cat"]}, "'cat' is chosen twice"),
        ({"cat": 2, "dog": 2}, {"classes": []}, "No class is chosen"),
        ({"cat": 2, "dog": 2}, {"part": "test"}, "has no test part. Choose the split 'article'"),
        ({"cat": 2, "dog": 2}, {"part": "val"}, "no part 'val'"),
        ({"cat": 2, "dog": 2}, {"in_chans": 4}, "1 channel .* or 3 .*, not 4"),
        ({"cat": 2, "dog": 2}, {"img_size": 0}, "size of 0 px"),
        ({"cat": 2, "dog": 2}, {"images_per_class": -1}, "-1 images per class"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    pets: Path, counts: dict[str, int], asked: dict[str, Any], said: str
) -> None:
    fill(pets, **counts)
    with pytest.raises(DataError, match=said):
        load_images("folder", data_dir=pets, **asked)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for data_dir, said in (
        ("", "Name it"),
        (tmp_path / "nowhere", "no folder .*nowhere"),
        (tmp_path / "file", "is a file"),
        (tmp_path / ("x" * 300), "cannot be read \\(File name too long\\)"),
        ("~nobody-of-that-name/pets", "no folder ~nobody"),
        ("\0", "no folder"),
    ):
        with pytest.raises(DataError, match=said):
            load_images("folder", data_dir=data_dir)
        assert not data.is_present("folder", str(data_dir))


def test_a_folder_without_permission_is_refused(pets: Path) -> None:
    fill(pets, cat=1, dog=1)
    pets.chmod(0)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        with pytest.raises(DataError, match=r"may not be read. Give permission"):
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


# The split


def test_the_article_splits_20000_images_as_its_notebook_does() -> None:
    state = random.getstate()
    indices = list(range(20000))
    random.seed(42)
    random.shuffle(indices)
    random.setstate(state)
    train, held_out = data.article_split(20000)
    assert train == indices[:16000] and held_out == indices[16000:]
    assert train[:5] == [5117, 6573, 18851, 1201, 13341]


@given(st.integers(2, 3000))
def test_every_image_is_in_one_part_and_neither_is_empty(num_images: int) -> None:
    train, held_out = data.article_split(num_images)
    assert sorted(train + held_out) == list(range(num_images)) and train and held_out
    assert len(train) == num_images * 4 // 5


def test_the_article_split_numbers_images_in_data_set_order_whatever_the_choice(pets: Path) -> None:
    fill(pets, ant=5, bee=5, cow=5)
    whole = load_images("folder", data_dir=pets, classes=["ant", "cow"])
    config = TrainConfig(dataset="folder", data_dir=str(pets), classes=("cow", "ant"))
    train, held_out = load_split(config)
    for part, indices in zip((train, held_out), data.article_split(10), strict=True):
        assert torch.equal(part.images, whole.images[indices])
        assert torch.equal(part.labels, 1 - whole.labels[indices])
    assert (len(train), len(held_out)) == (8, 2)


def test_the_official_test_part_is_held_out_and_never_trained_on(pets: Path) -> None:
    fill(pets / "train", cat=4, dog=4)
    fill(pets / "test", seed=100, cat=2, dog=2)
    config = TrainConfig(
        dataset="folder", data_dir=str(pets), classes=("cat", "dog"), split="official", images_per_class=3
    )
    train, held_out = load_split(config)
    assert (len(train), len(held_out)) == (6, 4)
    assert torch.equal(held_out.images[0], pixels(pets / "test/cat/0.png"))
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in held_out.images)
    article = [*load_split(config.changed(split="article"))]
    assert [len(part) for part in article] == [4, 2]  # of the train part alone
    shutil.rmtree(pets / "test/dog")
    with pytest.raises(DataError, match=r"test part .* has no folder for the class 'dog'"):
        load_split(config)


def test_a_class_may_be_called_train(pets: Path) -> None:
    fill(pets, train=2, plane=2)
    assert load_images("folder", data_dir=pets).counts == {"plane": 2, "train": 2}


def test_the_split_is_resized_and_skipped_files_stay_known(pets: Path) -> None:
    fill(pets, cat=4, dog=4)
    (pets / "cat/9.png").write_text("no")
    config = TrainConfig().changed(
        dataset="folder", data_dir=str(pets), classes=("cat", "dog"), img_size=16, in_chans=1
    )
    train, held_out = load_split(config)
    assert train.images.shape == (6, 1, 16, 16) and held_out.images.shape == (2, 1, 16, 16)
    assert len(train.skipped) == len(held_out.skipped) == 1


def test_settings_take_all_classes_of_a_set_that_lacks_theirs(pets: Path) -> None:
    fill(pets, ant=1, bee=1, cow=1)
    fitted = data.fit_classes(TrainConfig(dataset="folder", data_dir=str(pets)))
    assert fitted.classes == ("ant", "bee", "cow") and fitted.model.num_classes == 3
    kept = fitted.changed(classes=("cow", "ant"))
    assert data.fit_classes(kept) is kept
    assert data.fit_classes(TrainConfig(dataset="shapes")).classes == shapes.CLASSES


# Image sets


def test_a_fingerprint_tells_pixels_labels_and_classes_apart() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    one = ImageSet(images, torch.tensor([0, 1]), ("a", "b"))
    same = ImageSet(images.clone().mT.contiguous().mT, torch.tensor([0, 1]), ("a", "b"))
    others = [
        ImageSet(images.flip(0), one.labels, one.classes),
        ImageSet(images.view(2, 1, 6, 8), one.labels, one.classes),
        ImageSet(images, one.labels.flip(0), one.classes),
        ImageSet(images, one.labels, ("b", "a")),
    ]
    assert one.fingerprint() == same.fingerprint()
    assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_a_selection_keeps_images_labels_and_masks_together() -> None:
    drawn = load_images("shapes", images_per_class=4)
    assert drawn.masks is not None
    some = drawn.select([7, 3])
    assert some.masks is not None and len(some) == 2 and some.classes == drawn.classes
    assert torch.equal(some.images[1], drawn.images[3]) and torch.equal(some.masks[0], drawn.masks[7])
    assert some.labels.tolist() == [drawn.labels[7], drawn.labels[3]]


# Drawn shapes


def test_shapes_come_with_masks_in_turns_and_are_kept(own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_images("shapes", classes=["star", "circle"], images_per_class=20)
    images, _, masks = shapes.draw(20, seed=0, classes=["circle", "star"])
    assert torch.equal(found.images, images) and found.masks is not None and torch.equal(found.masks, masks)
    assert found.labels[:4].tolist() == [1, 0, 1, 0]
    assert load_images("shapes", images_per_class=2, img_size=16, in_chans=1).images.shape == (20, 1, 16, 16)
    monkeypatch.setattr(shapes, "draw", lambda *_, **__: pytest.fail("drawn again"))
    again = load_images("shapes", classes=["star", "circle"], images_per_class=20)
    assert again.fingerprint() == found.fingerprint() and again.masks is not None and torch.equal(again.masks, masks)


def test_the_two_parts_of_shapes_share_no_image() -> None:
    config = TrainConfig(dataset="shapes", classes=("circle", "star"), split="official", images_per_class=50)
    train, held_out = load_split(config)
    assert len(train) == len(held_out) == 100
    assert not {image.numpy().tobytes() for image in train.images} & {
        image.numpy().tobytes() for image in held_out.images
    }


def test_shapes_are_1500_to_train_on_and_300_to_test_on_of_each_class() -> None:
    assert load_images("shapes", classes=["circle"]).counts == {"circle": 1500}
    assert load_images("shapes", classes=["circle"], part="test", images_per_class=9999).counts == {"circle": 300}


# Published sets

Files = dict[str, bytes]  # what a server holds, by path


class Site:
    """A web server on this machine; `cut` breaks every transfer off half way, `hits` counts requests."""

    def __init__(self, root: Path) -> None:
        site = self
        self.root, self.cut, self.hits = root, False, 0

        class Handler(SimpleHTTPRequestHandler):
            def copyfile(self, source: Any, outputfile: Any) -> None:
                site.hits += 1
                whole = source.read()
                outputfile.write(whole[: len(whole) // 2] if site.cut else whole)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    yield site
    site.close()


class OldPickler(pickle.Pickler):
    """Writes arrays as the Python 2 did that made CIFAR's files."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def publish_cifar(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """CIFAR's archive: pickles of rows of 3072 bytes, in a tar.gz; the last sixth is the test part."""
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    names = [name for name, _ in kind.train_list + kind.test_list]
    names_of_classes = data.list_classes(dataset)  # type: ignore[arg-type]
    num_test = len(images) // 6
    bounds = [*np.linspace(0, len(images) - num_test, len(names)).astype(int).tolist(), len(images)]
    files: Files = {kind.meta["filename"]: pickle.dumps({kind.meta["key"]: list(names_of_classes)}, protocol=2)}
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        rows = images[start:stop].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content = io.BytesIO()
        key = "labels" if dataset == "cifar10" else "fine_labels"
        OldPickler(content, protocol=2).dump({"data": rows, key: labels[start:stop], "filenames": []})
        files[name] = content.getvalue()
    with tarfile.open(site.root / kind.filename, "w:gz") as archive:
        for name, content_bytes in files.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            info.size = len(content_bytes)
            archive.addfile(info, io.BytesIO(content_bytes))
    patch.setattr(kind, "url", site.url + kind.filename)
    patch.setattr(kind, "tgz_md5", md5((site.root / kind.filename).read_bytes()))
    patch.setattr(kind, "train_list", [[name, md5(files[name])] for name in names[:-1]])
    patch.setattr(kind, "test_list", [[names[-1], md5(files[names[-1]])]])
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(files[kind.meta["filename"]])})


def publish_fashion(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """Fashion-MNIST's four gz files: sizes as big-endian integers, then bytes."""
    cut = len(images) - len(images) // 6
    resources = []
    for part, rows in (("train", slice(cut)), ("t10k", slice(cut, None))):
        grey = images[rows, :28, :28, 0]
        for name, head, body in (
            (f"{part}-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, *grey.shape), grey.tobytes()),
            (f"{part}-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, len(grey)), bytes(labels[rows])),
        ):
            (site.root / name).write_bytes(gzip.compress(head + body))
            resources.append((name, md5((site.root / name).read_bytes())))
    patch.setattr(datasets.FashionMNIST, "mirrors", [site.url])
    patch.setattr(datasets.FashionMNIST, "resources", resources)


def publish_svhn(site: Site, patch: pytest.MonkeyPatch, dataset: str, images: np.ndarray, labels: list[int]) -> None:
    """SVHN's two MATLAB files: images in the last dimension, and 10 for the digit 0."""
    from scipy.io import savemat

    cut = len(images) - len(images) // 6
    listed = {}
    for part, rows in (("train", slice(cut)), ("test", slice(cut, None))):
        name = f"{part}_32x32.mat"
        digits = np.array([[label or 10] for label in labels[rows]], np.uint8)
        savemat(site.root / name, {"X": images[rows].transpose(1, 2, 3, 0), "y": digits}, do_compression=True)
        listed[part] = [site.url + name, name, md5((site.root / name).read_bytes())]
    patch.setattr(datasets.SVHN, "split_list", listed)


PUBLISHERS: dict[str, Callable[..., None]] = {
    "cifar10": publish_cifar, "cifar100": publish_cifar, "fashion_mnist": publish_fashion, "svhn": publish_svhn,
}  # fmt: skip


@pytest.fixture(params=PUBLISHERS)
def published(
    request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, np.ndarray, list[int]]:
    """A data set on the web as its makers publish it, only smaller: name, all images (N, H, W, C), all labels."""
    dataset: str = request.param
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 32, 32, 3), np.uint8)
    num_classes = len(data.list_classes(dataset))  # type: ignore[arg-type]
    labels = np.concatenate([rng.permutation(100), rng.permutation(20)]) % num_classes
    PUBLISHERS[dataset](site, monkeypatch, dataset, images, labels.tolist())
    if dataset == "fashion_mnist":
        images = images[:, :28, :28, :1]
    return dataset, images, labels.tolist()


only_cifar10 = pytest.mark.parametrize("published", ["cifar10"], indirect=True)
Published = tuple[Any, np.ndarray, list[int]]


def test_a_published_set_is_downloaded_checked_and_read_in_its_own_order(published: Published, own_data: Path) -> None:
    dataset, images, labels = published
    told: list[tuple[str, int, int]] = []
    assert not data.is_present(dataset)
    data.download(dataset, progress=lambda *step: told.append(step))
    assert data.is_present(dataset)
    assert told[0][0].startswith("Downloading") and all(0 < done <= total for _, done, total in told)
    found = load_images(dataset, images_per_class=0)
    assert found.classes == data.list_classes(dataset) and found.labels.tolist() == labels[:100]
    assert torch.equal(found.images.permute(0, 2, 3, 1), torch.from_numpy(images[:100]))
    left = {path.name for path in own_data.rglob("*") if path.name.endswith((".gz", ".part"))}
    assert not left, "archives that are no longer needed were kept"


def test_the_test_part_of_a_published_set_is_its_own(published: Published) -> None:
    dataset, images, labels = published
    data.download(dataset)
    chosen = [data.list_classes(dataset)[label] for label in (labels[100], labels[101])]
    found = load_images(dataset, classes=chosen, part="test")
    rows = [row for row in range(100, 120) if labels[row] in (labels[100], labels[101])]
    assert torch.equal(found.images.permute(0, 2, 3, 1), torch.from_numpy(images[rows]))
    assert found.labels.tolist() == [[labels[100], labels[101]].index(labels[row]) for row in rows]


@only_cifar10
def test_classes_of_a_published_set_keep_its_order_and_the_limit_takes_the_first(published: Published) -> None:
    dataset, images, labels = published
    data.download(dataset)
    found = load_images(dataset, classes=["truck", "cat"], images_per_class=4)
    cats, trucks = ([row for row in range(100) if labels[row] == label][:4] for label in (3, 9))
    rows = sorted(cats + trucks)
    assert torch.equal(found.images.permute(0, 2, 3, 1), torch.from_numpy(images[rows]))
    assert found.labels.tolist() == [0 if labels[row] == 9 else 1 for row in rows]
    small = load_images(dataset, classes=["truck", "cat"], images_per_class=4, img_size=16, in_chans=1)
    assert torch.equal(small.images, fit(found.images, 16, 1))


@only_cifar10
def test_a_transfer_that_breaks_off_is_never_taken_for_whole(published: Published, site: Site, own_data: Path) -> None:
    site.cut = True
    with pytest.raises(DataError, match=r"CIFAR-10 arrived .* cut off or changed.*--dataset shapes"):
        data.download("cifar10")
    assert not data.is_present("cifar10") and not list(own_data.glob("*cifar10.part"))
    site.cut = False
    data.download("cifar10")
    assert len(load_images("cifar10")) == 100


@only_cifar10
def test_an_archive_that_was_changed_is_refused(published: Published, site: Site) -> None:
    with (site.root / "cifar-10-python.tar.gz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"cut off or changed"):
        data.download("cifar10")
    assert not data.is_present("cifar10")


@only_cifar10
def test_a_stopped_download_leaves_nothing_and_what_a_killed_one_left_is_removed(
    published: Published, own_data: Path
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.download("cifar10", progress=stop)
    assert not data.is_present("cifar10") and not (own_data / ".cifar10.part").exists()
    (own_data / ".cifar10.part").mkdir()
    (own_data / ".cifar10.part/cifar-10-python.tar.gz").write_bytes(b"half")
    data.download("cifar10")
    assert not (own_data / ".cifar10.part").exists() and len(load_images("cifar10", part="test")) == 20


def test_without_a_network_other_ways_are_offered(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", site.url + "nothing-here.tar.gz")
    with pytest.raises(DataError, match=r"\(File not found\)"):
        data.download("cifar10")
    site.close()
    with pytest.raises(DataError, match=r"cannot be downloaded .*refused.*--dataset shapes.*--dataset folder"):
        data.download("cifar10", tmp_path / "elsewhere")


@only_cifar10
def test_loading_never_downloads(published: Published, site: Site, own_data: Path) -> None:
    with pytest.raises(DataError, match=r"`python -m minivit download cifar10`.*--dataset shapes"):
        load_images("cifar10")
    assert site.hits == 0 and not own_data.exists()


@only_cifar10
def test_nothing_stands_in_its_place_before_it_is_whole(published: Published, own_data: Path) -> None:
    def look(doing: str, done: int, total: int) -> None:
        assert all(path.name.startswith(".") for path in own_data.iterdir()) and not data.is_present("cifar10")

    data.download("cifar10", progress=look)
    assert data.is_present("cifar10")


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_published_set_is_refused(published: Published, own_data: Path, damage: bytes) -> None:
    dataset, _, _ = published
    data.download(dataset)
    (own_data / PUBLISHED[dataset].files[0]).write_bytes(damage)
    with pytest.raises(DataError, match=r"is damaged .*Download it again"):
        load_images(dataset)


@only_cifar10
def test_a_whole_set_is_not_downloaded_again_and_a_damaged_one_is_replaced(
    published: Published, site: Site, own_data: Path
) -> None:
    data.download("cifar10")
    data.download("cifar10")
    assert site.hits == 1
    (own_data / "cifar-10-batches-py/data_batch_2").write_bytes(b"half")
    with pytest.raises(DataError, match=r"is damaged .*Download it again"):
        load_images("cifar10")
    data.download("cifar10")
    assert site.hits == 2 and len(load_images("cifar10")) == 100


@only_cifar10
def test_two_downloads_of_one_set_do_not_meet(published: Published, own_data: Path) -> None:
    own_data.mkdir()
    with FileLock(own_data / ".cifar10.lock"), pytest.raises(DataError, match=r"is being downloaded .* already"):
        data.download("cifar10")
    data.download("cifar10")


@only_cifar10
def test_a_download_into_a_place_that_cannot_be_written_is_refused(published: Published, own_data: Path) -> None:
    own_data.write_text("a file")
    with pytest.raises(DataError, match=r"CIFAR-10 cannot be kept in"):
        data.download("cifar10")
    assert not data.is_present("cifar10")


def test_what_is_not_published_is_not_downloaded() -> None:
    for dataset in ("folder", "shapes"):
        with pytest.raises(DataError, match=r"needs no download"):
            data.download(dataset)  # type: ignore[arg-type]


def test_class_names_are_known_before_the_download() -> None:
    assert data.list_classes("cifar10")[3] == "cat" and data.list_classes("svhn") == tuple("0123456789")
    assert data.list_classes("fashion_mnist") == tuple(datasets.FashionMNIST.classes)
    assert len(set(CIFAR100_CLASSES)) == 100 and list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert data.is_present("shapes")


# Batches


def test_grey_and_smaller_batches_are_what_pil_makes_of_the_images() -> None:
    images = [picture(seed, (40, 40)) for seed in range(3)]
    batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    grey = torch.stack([torch.from_numpy(np.array(image.convert("L"))) for image in images])
    assert torch.equal(fit(batch, 40, 1)[:, 0], grey)
    assert torch.equal(fit(grey[:, None], 40, 3), grey[:, None].expand(-1, 3, -1, -1))
    for size in (24, 64):
        small = np.stack([np.asarray(ImageOps.fit(image, (size, size))) for image in images]).transpose(0, 3, 1, 2)
        assert np.abs(fit(batch, size, 3).numpy().astype(int) - small).max() <= 1


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_patches_laid_out_row_by_row_give_the_image(N: int, C: int, rows: int, cols: int, p: int) -> None:
    images = torch.randint(0, 256, (N, C, rows * p, cols * p), dtype=torch.uint8)
    cut = data.patches(images, p)
    assert cut.shape == (N, rows * cols, C, p, p)
    lines = [torch.cat(list(cut[:, row * cols : (row + 1) * cols].unbind(1)), dim=3) for row in range(rows)]
    assert torch.equal(torch.cat(lines, dim=2), images)


def test_a_patch_holds_its_values_in_the_order_in_which_the_model_reads_them() -> None:
    images = torch.rand(2, 3, 8, 8)
    weight = torch.rand(5, 3, 4, 4)
    by_patches = data.patches(images, 4).flatten(2) @ weight.flatten(1).T
    assert torch.allclose(by_patches, F.conv2d(images, weight, stride=4).flatten(2).mT, atol=1e-5)


def test_channel_statistics_are_those_of_all_pixels() -> None:
    images = torch.randint(0, 200, (2500, 3, 8, 8), dtype=torch.uint8) // torch.tensor([1, 2, 3])[:, None, None]
    mean, std = data.channel_stats(images.to(torch.uint8))
    exact = images.double() / 255
    assert torch.allclose(mean.double(), exact.mean((0, 2, 3)), atol=1e-7)
    assert torch.allclose(std.double(), exact.std((0, 2, 3), unbiased=False), atol=1e-7)
    assert data.channel_stats(torch.full((3, 1, 4, 4), 7, dtype=torch.uint8))[1].item() < 1e-6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("how", ["flip", "flip-crop"])
def test_every_augmented_image_is_a_mirrored_crop_of_its_own(how: Any, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (64, 2, 16, 16)).to(dtype)
    found = data.augment(images, how, torch.Generator().manual_seed(1))
    assert found.shape == images.shape and found.dtype == dtype
    pad = 2 if how == "flip-crop" else 0
    crops = F.pad(images, (pad,) * 4, mode="reflect").unfold(2, 16, 1).unfold(3, 16, 1).flatten(2, 3)  # (B, C, n, H, W)
    both = torch.cat([crops, crops.flip(-1)], dim=2)
    hits = (both == found[:, :, None]).flatten(3).all(3).all(1)  # (B, n): which crop each image is
    assert hits.any(1).all()
    assert hits.any(0).float().mean() > 0.6, "some places are never taken"


def test_augmentation_follows_its_generator_and_leaves_the_batch_alone() -> None:
    images = torch.rand(200, 1, 16, 16)
    before = images.clone()
    first, same, other = (data.augment(images, "flip-crop", torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other) and torch.equal(images, before)
    assert data.augment(images, "none", torch.Generator()) is images
    mirrored = (data.augment(images, "flip", torch.Generator().manual_seed(3)) != images).flatten(1).any(1)
    assert 0.4 < mirrored.float().mean() < 0.6


def test_the_data_folder_is_the_named_one_or_the_projects_own(monkeypatch: pytest.MonkeyPatch, own_data: Path) -> None:
    assert data.default_data_dir() == own_data
    monkeypatch.delenv("MINIVIT_DATA")
    assert data.default_data_dir() == Path(__file__).parents[2] / "data"
