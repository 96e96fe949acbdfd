from typing import get_args

import numpy as np
import pytest
import torch
import yardstick
from small_models import KINDS, random_images, random_model, settings_of, weights_of

from minivit.attention import faithfulness, localization, metrics
from minivit.attention.attribution import leave_one_out, memory_bounded_chunks, occlusion
from minivit.config.vit import Pool
from minivit.errors import DataError
from minivit.model import MiniViT


def score_of_kept(model: MiniViT, image: torch.Tensor, label: int):
    """The probability of a class by the yardstick, as a function of the patches that are left."""
    weights, picture = weights_of(model), image.numpy()

    def score(kept: list[int]) -> float:
        logits = yardstick.vit_forward(weights, picture, keep=kept, **settings_of(model)).logits
        return yardstick.softmax(logits)[label]

    return score


# Patches taken away


@pytest.mark.parametrize("kind", KINDS)
def test_filled_occlusion_agrees_with_captum_and_the_yardstick(kind):
    from captum.attr import Occlusion  # slow to import

    model, images, classes = random_model(**kind), random_images(3), torch.tensor([3, 0, 2])
    ours = occlusion(model, images, classes)
    mean = images.mean((2, 3), keepdim=True)
    theirs = Occlusion(model).attribute(
        images, target=classes, sliding_window_shapes=(3, 8, 8), strides=(3, 8, 8), baselines=mean.expand_as(images)
    )
    torch.testing.assert_close(ours, theirs[:, 0, ::8, ::8].flatten(1), atol=1e-5, rtol=1e-5)
    weights = weights_of(model)

    def logit(picture: np.ndarray) -> float:
        return yardstick.vit_forward(weights, picture, **settings_of(model)).logits[3]

    by_yardstick = yardstick.occlusion(logit, images[0].numpy(), 8, mean[0].flatten().numpy())
    np.testing.assert_allclose(ours[0], by_yardstick, atol=1e-5)
    assert ours.min() < 0 < ours.max()


def test_dropped_occlusion_is_the_logit_less_that_without_the_token():
    model, images = random_model(), random_images(2)
    ours, weights = leave_one_out(model, images, torch.tensor([1, 2])), weights_of(model)
    for patch in (0, 6, 15):
        kept = [place for place in range(16) if place != patch]
        whole, less = (
            yardstick.vit_forward(weights, images[1].numpy(), keep=keep, **settings_of(model)).logits[2]
            for keep in (None, kept)
        )
        assert ours[1, patch].item() == pytest.approx(whole - less, abs=1e-5)


@pytest.mark.parametrize("attribute", [occlusion, leave_one_out])
def test_occlusion_of_one_class_rather_than_another_is_the_difference_of_both(attribute):
    model, images, first, second = random_model(), random_images(2), torch.tensor([0, 1]), torch.tensor([2, 3])
    difference = attribute(model, images, first, contrast=second)
    expected = attribute(model, images, first) - attribute(model, images, second)
    torch.testing.assert_close(difference, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_deletion_and_insertion_agree_with_the_yardstick_patch_by_patch(kind):
    model, images, classes = random_model(**kind), random_images(2), torch.tensor([3, 0])
    maps = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    gone, come = (
        faithfulness.deletion(model, images, classes, maps),
        faithfulness.insertion(model, images, classes, maps),
    )
    for image in range(2):
        score, order = score_of_kept(model, images[image], classes[image]), np.argsort(-maps[image].numpy()).tolist()
        np.testing.assert_allclose(gone[image], yardstick.deletion_curve(score, order, 16), atol=1e-5)
        np.testing.assert_allclose(come[image], yardstick.insertion_curve(score, order, 16), atol=1e-5)


def test_set_against_another_class_the_curves_follow_the_probability_of_one_out_of_two():
    model, images, first, second = random_model(), random_images(2), torch.tensor([3, 0]), torch.tensor([1, 2])
    maps = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    for measure in (faithfulness.deletion, faithfulness.insertion):
        curves = measure(model, images, first, maps, second)
        p_first, p_second = (measure(model, images, classes, maps) for classes in (first, second))
        torch.testing.assert_close(curves, p_first / (p_first + p_second), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pool", get_args(Pool))
def test_deletion_begins_with_the_complete_image_and_insertion_ends_with_it(pool):
    model = random_model(norm="pre", pool=pool, num_registers=1)
    images, classes, maps = random_images(3), torch.tensor([0, 1, 2]), torch.rand(3, 16)
    complete = model(images).softmax(1).gather(1, classes[:, None])[:, 0].detach()
    gone, come = (
        faithfulness.deletion(model, images, classes, maps),
        faithfulness.insertion(model, images, classes, maps),
    )
    torch.testing.assert_close(gone[:, 0], complete)
    torch.testing.assert_close(come[:, -1], complete)
    torch.testing.assert_close(gone[:, -1], come[:, 0])  # CLS alone
    assert gone.shape == come.shape == (3, 17) and gone.isfinite().all()


def test_the_area_is_rises():
    curve = torch.tensor([[0.9, 0.7, 0.4, 0.2, 0.1], [1, 1, 1, 1, 1]])
    assert faithfulness.area(curve).tolist() == pytest.approx([0.45, 1])
    assert faithfulness.area(curve)[0].item() == pytest.approx(yardstick.rise_area(curve[0]))


def test_the_random_baseline_holds_the_deletion_curves_of_each_ranking():
    model, images, classes = random_model(), random_images(2), torch.tensor([1, 3])
    rankings = torch.rand(2, 3, 16, generator=torch.Generator().manual_seed(7))
    curves = faithfulness.random_baseline(model, images, classes, rankings)
    assert curves.shape == (2, 3, 17)
    for index in range(3):
        expected = faithfulness.deletion(model, images, classes, rankings[:, index])
        torch.testing.assert_close(curves[:, index], expected, atol=1e-6, rtol=1e-5)


def test_a_batch_that_is_done_in_parts_gives_what_each_image_gives_alone():
    model, images = random_model(depth=1, patch_size=4), random_images(180)
    classes, maps = torch.arange(180) % 4, torch.rand(180, 64)
    assert len(list(memory_bounded_chunks(classes, model))) > 1  # for occlusion three images are enough
    of_all = faithfulness.deletion(model, images, classes, maps), faithfulness.insertion(model, images, classes, maps)
    occluded = occlusion(model, images[:3], classes[:3])
    for image in (0, 2, 179):
        single = slice(image, image + 1)
        arguments = model, images[single], classes[single], maps[single]
        for curves, measure in zip(of_all, (faithfulness.deletion, faithfulness.insertion), strict=True):
            torch.testing.assert_close(curves[single], measure(*arguments), atol=1e-5, rtol=1e-5)
        if image < 3:
            torch.testing.assert_close(occluded[single], occlusion(*arguments[:3]), atol=1e-5, rtol=1e-5)


def test_models_are_unchanged_and_pixels_may_be_integers():
    model = random_model().train()
    images = (random_images(2) * 255).to(torch.uint8)
    maps = occlusion(model, images, torch.tensor([0, 1]))
    assert model.training and not maps.requires_grad
    torch.testing.assert_close(maps, occlusion(model, images.float() / 255, torch.tensor([0, 1])))


# Order within ties, controls, SaCo


def test_ties_are_dropped_in_an_order_of_each_image_s_own():
    model, images, classes = random_model(), random_images(1).expand(6, -1, -1, -1), torch.zeros(6, dtype=torch.int64)
    constant = faithfulness.deletion(model, images, classes, torch.zeros(6, 16))
    assert len({tuple(curve.tolist()) for curve in constant}) == 6
    assert torch.equal(constant, faithfulness.deletion(model, images, classes, torch.zeros(6, 16)))
    untied = torch.arange(16.0).expand(6, -1)
    curves = faithfulness.deletion(model, images, classes, untied)
    torch.testing.assert_close(curves, curves[:1].expand(6, -1))


def test_the_maps_of_others_are_never_an_image_s_own():
    maps = torch.arange(20.0)[:, None].expand(-1, 3)
    others = faithfulness.maps_of_others(maps)
    assert others.shape == (20, 8, 3)
    assert all(
        index not in row[:, 0].tolist() and len(set(row[:, 0].tolist())) == 8 for index, row in enumerate(others)
    )
    assert faithfulness.maps_of_others(maps[:2]).shape == (2, 1, 3)
    assert faithfulness.maps_of_others(maps[:1]).shape == (1, 0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_saco_is_the_formula_group_by_group(kind):
    model, images, classes = random_model(**kind), random_images(2), torch.tensor([3, 0])
    maps = torch.rand(2, 16, generator=torch.Generator().manual_seed(0)) - 0.3
    scores = faithfulness.saco(model, images, classes, maps)
    for image in range(2):
        score, order = score_of_kept(model, images[image], classes[image]), np.argsort(-maps[image].numpy())
        groups = np.split(order, 8)
        sums = [maps[image].numpy()[group].sum() for group in groups]
        falls = [score(list(range(16))) - score(sorted(set(range(16)) - set(group.tolist()))) for group in groups]
        above = below = 0.0
        for i in range(8):
            for j in range(i + 1, 8):
                weight = sums[i] - sums[j]
                above += weight if falls[i] >= falls[j] else -weight
                below += abs(weight)
        assert scores[image].item() == pytest.approx(above / below, abs=1e-5)
    assert faithfulness.saco(model, images, classes, torch.full((2, 16), 0.1)).tolist() == [0, 0]


def test_saco_compares_groups_also_if_only_the_side_of_a_grid_divides_it():
    model, images, classes = random_model(img_size=76, patch_size=4, depth=1), torch.rand(1, 3, 76, 76), torch.zeros(1)
    assert faithfulness.saco(model, images, classes.long(), torch.rand(1, 19 * 19)) != 0


# Known answers


def random_masks(count: int) -> torch.Tensor:
    masks = torch.zeros(count, 32, 32, dtype=torch.bool)
    for number, (row, column) in enumerate(np.random.default_rng(0).integers(0, 20, (count, 2))):
        masks[number, row : row + 9, column : column + 12] = True
    return masks


def test_mass_inside_and_pointing_agree_with_the_yardstick():
    masks, maps = random_masks(20), torch.rand(20, 16, generator=torch.Generator().manual_seed(0)) ** 4
    mass, hits = localization.energy_inside(maps, masks, 8), localization.pointing(maps, masks, 8)
    for image in range(20):
        assert mass[image].item() == pytest.approx(yardstick.mass_inside(maps[image], masks[image], 8), abs=1e-5)
        assert hits[image].item() == yardstick.pointing(maps[image], masks[image], 8)
    assert 0 < hits.float().mean() < 1


def test_uniform_maps_have_the_mass_and_the_hits_of_chance():
    masks = random_masks(20)
    torch.testing.assert_close(
        localization.energy_inside(torch.ones(20, 16), masks, 8), localization.uniform_energy(masks)
    )
    assert localization.uniform_energy(masks).tolist() == pytest.approx([9 * 12 / 32**2] * 20)
    each_patch = torch.eye(16)
    for image in range(3):
        hits = localization.pointing(each_patch, masks[image].expand(16, 32, 32), 8).float().mean()
        assert localization.uniform_pointing(masks, 8)[image] == hits


def test_only_what_is_above_zero_counts_as_mass():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2, :2] = True
    assert localization.energy_inside(torch.tensor([[1.0, 3, -8, 0]]), mask, 2).item() == pytest.approx(0.25)
    assert localization.energy_inside(torch.tensor([[-1.0, 0, -8, 0]]), mask, 2).item() == 0


# Where in the picture, and when wrong


@pytest.mark.parametrize(
    ("grid", "ring", "middle"), [(8, 28 / 64, 16 / 64), (4, 12 / 16, 4 / 16), (5, 16 / 25, 9 / 25)]
)
def test_a_uniform_map_has_the_uniform_mass_on_ring_and_middle(grid, ring, middle):
    mass = metrics.ring_mass(torch.full((2, grid**2), 0.01))
    assert (mass.uniform_ring, mass.uniform_middle) == pytest.approx((ring, middle))
    assert mass.ring.tolist() == pytest.approx([ring] * 2) and mass.middle.tolist() == pytest.approx([middle] * 2)


def test_a_corner_is_all_ring_and_the_centre_all_middle():
    mass = metrics.ring_mass(torch.eye(64)[[7, 8 * 3 + 4, 8 + 1]])
    assert mass.ring.tolist() == [1, 0, 0] and mass.middle.tolist() == [0, 1, 0]


def test_mistakes_minus_correct_compares_images_of_one_class():
    maps = torch.arange(10.0).view(5, 2)
    labels, predicted = torch.tensor([0, 0, 0, 1, 0]), torch.tensor([0, 1, 1, 1, 2])
    difference = metrics.mistakes_minus_correct(maps, labels, predicted, true=0, mistaken=1)
    assert difference.tolist() == [(2 + 4) / 2 - 0, (3 + 5) / 2 - 1]
    for true, mistaken in ((1, 0), (2, 0)):
        with pytest.raises(DataError, match="another cell"):
            metrics.mistakes_minus_correct(maps, labels, predicted, true, mistaken)


def test_cells_of_mistakes_share_the_largest_difference_that_is_not_noise():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(60, 4, generator=generator)
    labels, predicted = (torch.randint(0, 3, (60,), generator=generator) for _ in range(2))
    maps[(labels == 0) & (predicted == 1)] -= 5
    labels[:2], predicted[:2], maps[:2] = 2, 3, 100  # a cell of two
    labels[2], maps[2] = -1, 1000  # of no class of the model
    cells = [(true, prediction) for true in range(3) for prediction in range(3) if true != prediction]
    sizes = [metrics.mistakes_minus_correct(maps, labels, predicted, *cell).abs().max().item() for cell in cells]
    assert metrics.mistakes_scale(maps, labels, predicted, min_mistakes=3) == pytest.approx(max(sizes), rel=1e-5)
    assert metrics.mistakes_scale(maps, labels, predicted, min_mistakes=1) > 90
    assert metrics.mistakes_scale(maps, labels, predicted, min_mistakes=50) > 90  # where no cell has so many, all count
    assert metrics.mistakes_scale(maps, predicted, predicted, min_mistakes=1) == 0
    labels, predicted = torch.tensor([0] * 9 + [0]), torch.tensor([0] * 9 + [1])
    assert (
        metrics.mistakes_scale(maps[:10], labels, predicted, min_mistakes=5) > 0
    )  # nine right answers are no mistakes
