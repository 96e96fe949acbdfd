"""The article's split word for word, drawn shapes, and batches as the model reads them."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pictures import fill, picture, pixels
from PIL import ImageOps

from minivit import data
from minivit.config import SHAPES_CLASSES, TrainConfig
from minivit.data import ImageSet, load_images, load_split, shapes_drawing
from minivit.data.batches import resize
from minivit.errors import DataError

pytestmark = pytest.mark.usefixtures("own_data")


# The split


def test_the_article_splits_20000_images_as_its_notebook_does() -> None:
    state = random.getstate()
    indices = list(range(20000))
    random.seed(42)
    random.shuffle(indices)
    random.setstate(state)
    train, test_set = data.article_split(20000)
    assert train == indices[:16000] and test_set == indices[16000:]
    assert train[:5] == [5117, 6573, 18851, 1201, 13341]


@given(st.integers(2, 3000))
def test_every_image_is_in_one_part_and_neither_is_empty(num_images: int) -> None:
    train, test_set = data.article_split(num_images)
    assert sorted(train + test_set) == list(range(num_images)) and train and test_set
    assert len(train) == num_images * 4 // 5


def test_the_article_split_numbers_images_in_data_set_order_whatever_the_choice(pets: Path) -> None:
    fill(pets, ant=5, bee=5, cow=5)
    complete = load_images("folder", data_dir=pets, classes=["ant", "cow"])
    config = TrainConfig(dataset="folder", data_dir=str(pets), classes=("cow", "ant"), stratify=False)
    train, test_set = load_split(config)
    for part, indices in zip((train, test_set), data.article_split(10), strict=True):
        assert torch.equal(part.images, complete.images[indices])
        assert torch.equal(part.labels, 1 - complete.labels[indices])
    assert (len(train), len(test_set)) == (8, 2)


def test_the_official_test_split_is_used_for_testing_and_never_trained_on(pets: Path) -> None:
    fill(pets / "train", cat=4, dog=4)
    fill(pets / "test", seed=100, cat=2, dog=2)
    config = TrainConfig(
        dataset="folder", data_dir=str(pets), classes=("cat", "dog"), split="official", images_per_class=3
    )
    train, test_set = load_split(config)
    assert (len(train), len(test_set)) == (6, 4)
    assert torch.equal(test_set.images[0], pixels(pets / "test/cat/0.png"))
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test_set.images)
    article = [*load_split(config.changed(split="article"))]
    assert [len(part) for part in article] == [4, 2]  # of the training split alone
    shutil.rmtree(pets / "test/dog")
    with pytest.raises(DataError, match=r"test split .* has no folder for the class 'dog'"):
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
    train, test_set = load_split(config)
    assert train.images.shape == (6, 1, 16, 16) and test_set.images.shape == (2, 1, 16, 16)
    assert len(train.skipped) == len(test_set.skipped) == 1


def test_settings_take_all_classes_of_a_set_that_lacks_theirs(pets: Path) -> None:
    fill(pets, ant=1, bee=1, cow=1)
    fitted = data.select_classes(TrainConfig(dataset="folder", data_dir=str(pets)))
    assert fitted.classes == ("ant", "bee", "cow") and fitted.model.num_classes == 3
    kept = fitted.changed(classes=("cow", "ant"))
    assert data.select_classes(kept) is kept
    assert data.select_classes(TrainConfig(dataset="shapes")).classes == SHAPES_CLASSES


# Image sets


def test_shuffled_labels_are_those_of_the_training_images_in_another_order(pets: Path) -> None:
    fill(pets, cat=20, dog=20)
    config = TrainConfig(dataset="folder", data_dir=str(pets), classes=("cat", "dog"))
    (train, test), (shuffled, same) = load_split(config), load_split(config.changed(shuffle_labels=True))
    assert torch.equal(shuffled.images[:], train.images[:]) and torch.equal(same.labels, test.labels)
    assert shuffled.counts == train.counts and not torch.equal(shuffled.labels, train.labels)
    assert torch.equal(load_split(config.changed(shuffle_labels=True))[0].labels, shuffled.labels)


def test_a_fingerprint_depends_on_pixels_labels_and_classes() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    image_set = ImageSet(images, torch.tensor([0, 1]), ("a", "b"))
    same = ImageSet(images.clone().mT.contiguous().mT, torch.tensor([0, 1]), ("a", "b"))
    others = [
        ImageSet(images.flip(0), image_set.labels, image_set.classes),
        ImageSet(images.view(2, 1, 6, 8), image_set.labels, image_set.classes),
        ImageSet(images, image_set.labels.flip(0), image_set.classes),
        ImageSet(images, image_set.labels, ("b", "a")),
    ]
    assert image_set.fingerprint() == same.fingerprint()
    assert len({image_set.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_a_selection_keeps_images_labels_and_masks_together() -> None:
    image_set = load_images("shapes", images_per_class=4)
    assert image_set.masks is not None
    some = image_set.select([7, 3])
    assert some.masks is not None and len(some) == 2 and some.classes == image_set.classes
    assert torch.equal(some.images[1], image_set.images[3]) and torch.equal(some.masks[0], image_set.masks[7])
    assert some.labels.tolist() == [image_set.labels[7], image_set.labels[3]]


# Drawn shapes


def test_shapes_come_with_masks_in_turns_and_are_kept(own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_set = load_images("shapes", classes=["star", "circle"], images_per_class=20)
    for start, name in enumerate(("circle", "star")):
        images, masks = shapes_drawing.draw(name, 20, seed=0)
        assert torch.equal(image_set.images[start::2], images)
        assert image_set.masks is not None and torch.equal(image_set.masks[start::2], masks)
    assert image_set.labels[:4].tolist() == [1, 0, 1, 0]
    assert load_images("shapes", images_per_class=2, img_size=16, in_chans=1).images.shape == (20, 1, 16, 16)
    monkeypatch.setattr(shapes_drawing, "draw", lambda *_, **__: pytest.fail("drawn again"))
    again = load_images("shapes", classes=["star", "circle"], images_per_class=20)
    assert (
        again.fingerprint() == image_set.fingerprint()
        and again.masks is not None
        and torch.equal(again.masks, image_set.masks)
    )


def test_the_two_parts_of_shapes_share_no_image() -> None:
    config = TrainConfig(dataset="shapes", classes=("circle", "star"), split="official", images_per_class=50)
    train, test_set = load_split(config)
    assert len(train) == len(test_set) == 100
    assert not {image.numpy().tobytes() for image in train.images} & {
        image.numpy().tobytes() for image in test_set.images
    }


def test_shapes_are_1500_to_train_on_and_300_to_test_on_of_each_class() -> None:
    assert load_images("shapes", classes=["circle"]).counts == {"circle": 1500}
    assert load_images("shapes", classes=["circle"], split="test", images_per_class=9999).counts == {"circle": 300}


# Batches


def test_gray_and_smaller_batches_are_what_pil_makes_of_the_images() -> None:
    images = [picture(seed, (40, 40)) for seed in range(3)]
    batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    gray = torch.stack([torch.from_numpy(np.array(image.convert("L"))) for image in images])
    assert torch.equal(resize(batch, 40, 1)[:, 0], gray)
    assert torch.equal(resize(gray[:, None], 40, 3), gray[:, None].expand(-1, 3, -1, -1))
    for size in (24, 64):
        small = np.stack([np.asarray(ImageOps.fit(image, (size, size))) for image in images]).transpose(0, 3, 1, 2)
        assert np.abs(resize(batch, size, 3).numpy().astype(int) - small).max() <= 1


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_patches_laid_out_row_by_row_give_the_image(N: int, C: int, rows: int, cols: int, p: int) -> None:
    images = torch.randint(0, 256, (N, rows * p, cols * p, C), dtype=torch.uint8).permute(0, 3, 1, 2)
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
def test_every_augmented_image_is_a_mirrored_crop_of_its_original(how: Any, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (64, 2, 16, 16)).to(dtype)
    augmented = data.augment(images, how, torch.Generator().manual_seed(1))
    assert augmented.shape == images.shape and augmented.dtype == dtype
    pad = 2 if how == "flip-crop" else 0
    crops = F.pad(images, (pad,) * 4, mode="reflect").unfold(2, 16, 1).unfold(3, 16, 1).flatten(2, 3)  # (B, C, n, H, W)
    both = torch.cat([crops, crops.flip(-1)], dim=2)
    hits = (both == augmented[:, :, None]).flatten(3).all(3).all(1)  # (B, n): which crop each image is
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
