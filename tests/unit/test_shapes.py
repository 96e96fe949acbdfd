import hashlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from minivit.attention.localization import control_maps, localize
from minivit.config import SHAPES_CLASSES
from minivit.data.shapes_drawing import DRAWINGS, draw

AREA = DRAWINGS[2].area


def draw_all(num_per_class: int, **options: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and masks of all classes, in turns."""
    by_class = zip(*(draw(name, num_per_class, **options) for name in SHAPES_CLASSES), strict=True)
    images, masks = (torch.stack(parts, dim=1).flatten(0, 1) for parts in by_class)
    return images, torch.arange(len(SHAPES_CLASSES)).repeat(num_per_class), masks


@pytest.fixture(scope="module")
def drawn():
    return draw_all(100, seed=7)


def test_it_draws_uint8_images_and_bool_masks(drawn):
    images, _, masks = drawn
    assert images.shape == (1000, 3, 32, 32) and images.dtype == torch.uint8
    assert masks.shape == (1000, 32, 32) and masks.dtype == torch.bool
    assert images.min() == 0 and images.max() == 255


def test_the_same_seed_draws_the_same_images(drawn):
    for first, second in zip(drawn, draw_all(100, seed=7), strict=True):
        assert torch.equal(first, second)


def test_another_seed_draws_different_images(drawn):
    others = draw_all(100, seed=8)[0]
    assert not (others == drawn[0]).flatten(1).all(1).any()


def test_no_image_is_drawn_twice(drawn):
    assert len(drawn[0].flatten(1).unique(dim=0)) == len(drawn[0])


def test_more_images_only_append(drawn):
    for fewer, more in zip(draw_all(65, seed=7), drawn, strict=True):  # one more than a chunk
        assert torch.equal(fewer, more[: len(fewer)])


@pytest.mark.parametrize("img_size", [8, 28, 64])
def test_images_have_the_requested_size(img_size):
    images, _, masks = draw_all(2, img_size=img_size)
    assert images.shape == (20, 3, img_size, img_size) and masks.shape == (20, img_size, img_size)
    assert masks.flatten(1).any(1).all()


def test_areas_are_within_bounds_and_alike_in_every_class(drawn):
    _, labels, masks = drawn
    area = masks.float().mean((1, 2))
    assert area.min() > 0.7 * AREA[0] and area.max() < AREA[1] + 0.01  # only tips are outside
    for label in range(len(SHAPES_CLASSES)):
        assert area[labels == label].mean() == pytest.approx(sum(AREA) / 2, abs=0.015)


def outside_minus_inside(channel: Tensor, masks: Tensor) -> Tensor:
    """The mean of (N, H, W) around each object minus that on it, (N,), without the antialiased edge."""
    mask = masks.float()
    grown = F.max_pool2d(mask[:, None], 7, 1, 3)[:, 0]
    around = grown - F.max_pool2d(mask[:, None], 3, 1, 1)[:, 0]
    inside = (channel * mask).sum((1, 2)) / mask.sum((1, 2))
    return (channel * around).sum((1, 2)) / around.sum((1, 2)) - inside


def test_shapes_are_redder_than_what_surrounds_them_and_about_as_often_lighter_as_darker(drawn):
    images, _, masks = drawn
    red, others = images[:, 0].float() / 255, images[:, 1:].float().mean(1) / 255
    assert outside_minus_inside(red - others, masks).max() < -0.1
    assert 0.4 < (outside_minus_inside(images.float().mean(1), masks) > 0).float().mean() < 0.6


def controls(images: Tensor, patch_size: int) -> dict[str, Tensor]:
    """Maps that use no model: of the center, brightness and darkness, and of the one patch that has most of each."""
    maps = control_maps(images, patch_size)
    bright, center = maps["brightness"], maps["center"]
    distance = center.amax(1, keepdim=True) - center
    maps["gaussian"] = torch.exp(-0.5 * (distance / distance.amax(1, keepdim=True) * 3) ** 2)
    maps["darkness"] = bright.amax(1, keepdim=True) - bright
    for name in ("brightness", "center", "darkness"):
        maps[f"one patch of {name}"] = F.one_hot(maps[name].argmax(1), bright.shape[1]).float()
    return maps


def controls_that_beat_random(num_per_class: int, img_size: int, patch_size: int, seed: int, drawing: int) -> set[str]:
    """Controls whose energy or pointing game is above the inner 95% of random maps."""
    images, _, masks = draw_all(num_per_class, seed=seed, img_size=img_size, drawing=drawing)

    def scores(maps: Tensor) -> Tensor:
        result = localize("", maps, masks, patch_size)
        return torch.tensor([result.energy.value, result.pointing.value])

    generator = torch.Generator().manual_seed(seed)
    shape = len(images), (img_size // patch_size) ** 2
    random = torch.stack([scores(torch.rand(shape, generator=generator)) for _ in range(100)])
    limits = random.quantile(0.975, dim=0)
    return {name for name, maps in controls(images, patch_size).items() if (scores(maps) > limits).any()}


@pytest.mark.parametrize(
    ("img_size", "patch_size", "num_per_class"),
    [(8, 2, 100), (12, 4, 100), (16, 4, 100), (24, 8, 60), (28, 4, 100), (32, 4, 100), (32, 8, 30), (64, 8, 20)],
)
def test_neither_the_center_nor_brightness_finds_the_object_more_often_than_a_random_map(
    img_size, patch_size, num_per_class
):
    assert controls_that_beat_random(num_per_class, img_size, patch_size, seed=0, drawing=2) == set()


def test_of_the_former_drawing_the_center_and_brightness_find_the_object():
    assert {"center", "gaussian", "brightness", "one patch of brightness"} <= controls_that_beat_random(20, 32, 4, 0, 1)


def test_the_former_drawing_is_as_it_was_to_the_byte():
    digests = {
        (3, 32, 1): "0cdec8c8dade35d1",
        (2, 8, 5): "e4dcda7abb12f6bc",
        (2, 64, 3): "f2f9e5f84b48e522",
    }
    for (num_per_class, img_size, seed), digest in digests.items():
        parts = draw_all(num_per_class, seed=seed, img_size=img_size, drawing=1)
        assert hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()[:16] == digest


def test_rings_have_their_hole_left_out_of_the_mask():
    masks = draw("ring", 20)[1]
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for mask in masks:
        assert not mask[rows[mask].float().mean().round().long(), columns[mask].float().mean().round().long()]


def test_color_and_brightness_do_not_reveal_the_class():
    images, labels, _ = draw_all(300, seed=1)
    images = images.float() / 255
    features = torch.cat([images.mean((2, 3)), images.std((2, 3)), images.mean((1, 2, 3))[:, None] ** 2], 1)
    features = torch.cat([features, torch.ones(len(features), 1)], 1)
    weight = torch.linalg.lstsq(features[:1500], F.one_hot(labels[:1500]).float()).solution
    accuracy = ((features[1500:] @ weight).argmax(1) == labels[1500:]).float().mean()
    assert accuracy < 0.14  # chance is 0.1, and 1,500 images spread it by 0.008


def test_progress_rises_to_the_number_of_images():
    calls = []
    draw("star", 70, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 70), (70, 70)]
