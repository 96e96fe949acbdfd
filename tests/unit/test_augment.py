"""Changes to batches: what may move and what may not, by numbers that can be checked by hand."""

import pytest
import torch

from minivit.data import augment, mix_pairs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_randaugment_changes_each_image_independently_and_by_the_seed_alone():
    image = torch.randint(0, 256, (1, 3, 16, 16), generator=generator(), dtype=torch.uint8)
    batch = image.expand(64, -1, -1, -1)
    changed = augment(batch, "rand", generator(1))
    assert changed.dtype == torch.uint8 and changed.shape == batch.shape
    assert len({image.numpy().tobytes() for image in changed}) > 50
    assert torch.equal(changed, augment(batch, "rand", generator(1)))
    assert not torch.equal(changed, augment(batch, "rand", generator(2)))
    assert torch.equal(batch[5:6], image)  # the batch itself is left alone


def test_mixup_averages_images_and_targets_by_the_same_share():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    mixed, shares = mix_pairs(images, torch.tensor([0, 1, 2, 3]), 4, mixup=1.0, cutmix=0, generator=generator())
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    values = mixed[:, 0, 0, 0]
    torch.testing.assert_close(values, shares @ torch.arange(4.0))  # image k has the value k and the label k
    assert (mixed == values.view(4, 1, 1, 1)).all() and 0 < shares[0, 0] < 1


def test_cutmix_weighs_the_targets_by_the_area_that_was_cut():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    for seed in range(20):
        mixed, shares = mix_pairs(images, torch.tensor([0, 1, 2, 3]), 4, mixup=0, cutmix=1.0, generator=generator(seed))
        own = (mixed[0, 0] == 0).double().mean()
        assert shares[0, 0] == pytest.approx(float(own)) and shares[0, 3] == pytest.approx(1 - float(own))
        assert set(mixed[1].unique().tolist()) <= {1.0, 2.0}


def test_without_mixing_targets_are_the_labels():
    images = torch.rand(3, 3, 8, 8)
    same, shares = mix_pairs(images, torch.tensor([2, 0, 1]), 3, mixup=0, cutmix=0, generator=generator())
    assert torch.equal(same, images) and shares.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
