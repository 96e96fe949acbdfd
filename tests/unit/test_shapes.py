import pytest
import torch
from torch.nn import functional as F

from minivit.config import SHAPES_CLASSES
from minivit.data.shapes_drawing import AREA, draw
from minivit.errors import DataError


@pytest.fixture(scope="module")
def drawn():
    return draw(100, seed=7)


def test_it_draws_uint8_images_int64_labels_and_bool_masks(drawn):
    images, labels, masks = drawn
    assert images.shape == (1000, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.shape == (1000,) and labels.dtype == torch.int64
    assert masks.shape == (1000, 32, 32) and masks.dtype == torch.bool
    assert images.min() == 0 and images.max() == 255


def test_classes_alternate_so_that_every_beginning_is_balanced(drawn):
    assert drawn[1].tolist() == list(range(len(SHAPES_CLASSES))) * 100


def test_the_same_seed_draws_the_same_images(drawn):
    for first, second in zip(drawn, draw(100, seed=7), strict=True):
        assert torch.equal(first, second)


def test_another_seed_draws_every_image_anew(drawn):
    others = draw(100, seed=8)[0]
    assert not (others == drawn[0]).flatten(1).all(1).any()


def test_no_image_is_drawn_twice(drawn):
    assert len(drawn[0].flatten(1).unique(dim=0)) == len(drawn[0])


def test_more_images_only_append(drawn):
    for fewer, more in zip(draw(65, seed=7), drawn, strict=True):  # one more than a chunk
        assert torch.equal(fewer, more[: len(fewer)])


def test_choosing_other_classes_leaves_the_images_of_a_class_as_they_were(drawn):
    images, labels, masks = draw(100, seed=7, classes=("star", "circle"))
    for label, name in enumerate(("star", "circle")):
        before, after = drawn[1] == SHAPES_CLASSES.index(name), labels == label
        assert torch.equal(images[after], drawn[0][before])
        assert torch.equal(masks[after], drawn[2][before])


@pytest.mark.parametrize("img_size", [8, 28, 64])
def test_images_have_the_requested_size(img_size):
    images, _, masks = draw(2, img_size=img_size)
    assert images.shape == (20, 3, img_size, img_size) and masks.shape == (20, img_size, img_size)
    assert masks.flatten(1).any(1).all()


def test_areas_are_within_bounds_and_alike_in_every_class(drawn):
    _, labels, masks = drawn
    area = masks.float().mean((1, 2))
    assert area.min() > AREA[0] - 0.015 and area.max() < AREA[1] + 0.015
    for label in range(len(SHAPES_CLASSES)):
        assert area[labels == label].mean() == pytest.approx(sum(AREA) / 2, abs=0.015)


def test_no_more_than_the_tip_of_a_shape_reaches_the_edge_of_the_picture(drawn):
    masks = drawn[2]
    rim = torch.ones(32, 32, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    assert (masks & rim).sum((1, 2)).max() <= 4


def test_shapes_are_lighter_than_what_surrounds_them(drawn):
    gray, mask = drawn[0].float().mean(1) / 255, drawn[2].float()
    grown = F.max_pool2d(mask[:, None], 7, 1, 3)[:, 0]
    around = grown - F.max_pool2d(mask[:, None], 3, 1, 1)[:, 0]  # without the antialiased edge
    inside = (gray * mask).sum((1, 2)) / mask.sum((1, 2))
    outside = (gray * around).sum((1, 2)) / around.sum((1, 2))
    assert (inside - outside).min() > 0.1


def test_rings_have_their_hole_left_out_of_the_mask():
    masks = draw(20, classes=("ring",))[2]
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for mask in masks:
        assert not mask[rows[mask].float().mean().round().long(), columns[mask].float().mean().round().long()]


def test_color_and_brightness_do_not_reveal_the_class():
    images, labels, _ = draw(300, seed=1)
    images = images.float() / 255
    features = torch.cat([images.mean((2, 3)), images.std((2, 3)), images.mean((1, 2, 3))[:, None] ** 2], 1)
    features = torch.cat([features, torch.ones(len(features), 1)], 1)
    weight = torch.linalg.lstsq(features[:1500], F.one_hot(labels[:1500]).float()).solution
    accuracy = ((features[1500:] @ weight).argmax(1) == labels[1500:]).float().mean()
    assert accuracy < 0.14  # chance is 0.1, and 1,500 images spread it by 0.008


def test_progress_rises_to_the_number_of_images():
    calls = []
    draw(70, classes=("star", "heart"), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 140), (70, 140), (134, 140), (140, 140)]


@pytest.mark.parametrize(
    ("num_per_class", "options", "message"),
    [
        (0, {}, "num_per_class is 0. Request at least 1"),
        (1, {"seed": -1}, "seed is -1. Choose 0"),
        (1, {"classes": ()}, "No shape class is selected. Choose from circle"),
        (1, {"classes": ("star", "dodo")}, "no shape class 'dodo'. Choose from circle"),
        (1, {"classes": ("star", "star")}, "'star' is selected twice. Select each class once"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(num_per_class, options, message):
    with pytest.raises(DataError, match=message):
        draw(num_per_class, **options)
