"""Attention over training: the numbers of the complete attention, in order, and metrics that can be checked by hand."""

import numpy as np
import pytest
import torch

from minivit.attention import attend, between_image_variation, cls_map, divergence, entropy, image_specific_share
from minivit.attention.over_training import MAP_METRICS, Snapshot, all_heads, map_metrics, stack, take_snapshot
from minivit.config import TrainConfig
from minivit.model import MiniViT
from minivit.runs import Checkpoint

HEADS = all_heads(2)


@pytest.fixture
def model(tiny: TrainConfig) -> MiniViT:
    torch.manual_seed(0)
    return MiniViT(tiny.model).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """More than fit into one batch."""
    return torch.randint(0, 256, (19, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_a_snapshot_has_the_cls_maps_of_the_full_attention(model: MiniViT, images: torch.Tensor) -> None:
    probs, attn = attend(model, images)
    snapshot = take_snapshot(model, images)
    assert HEADS == [0, 1, "mean", "max"]
    assert snapshot.maps.shape == (19, 2, 4, 16)
    for layer in range(2):
        for place, head in enumerate(HEADS):
            expected = cls_map(attn[:, layer], head)
            torch.testing.assert_close(torch.from_numpy(snapshot.maps[:, layer, place]), expected, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(snapshot.probs, probs, atol=1e-6)


def test_metrics_are_those_of_each_layer_and_head(model: MiniViT, images: torch.Tensor) -> None:
    now, before = take_snapshot(model, images), take_snapshot(model, images.flip(0))
    measured = map_metrics(now, before)
    maps, untrained = torch.from_numpy(now.maps[:, 1, 3]), torch.from_numpy(before.maps[:, 1, 3])
    expected = (
        float(entropy(maps).mean()),
        float(divergence(maps, untrained).mean()),
        between_image_variation(maps),
        image_specific_share(maps),
    )
    assert [float(measured.values[name][1, 3]) for name in MAP_METRICS] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(measured.mean_map, now.maps.mean(0), rtol=1e-5)


def test_uniform_maps_are_even_and_the_same_for_every_image() -> None:
    uniform = Snapshot(np.full((5, 2), 0.5, np.float32), np.full((5, 1, 3, 16), 1 / 17, np.float32))
    spread = np.zeros((5, 1, 3, 16), np.float32)
    spread[np.arange(5), ..., np.arange(5)] = 1  # each image snapshots at a patch of its own
    figures = map_metrics(Snapshot(uniform.probs, spread), uniform).values
    at_first = map_metrics(uniform, uniform).values
    assert at_first["entropy"] == pytest.approx(1)
    assert at_first["divergence"] == pytest.approx(0, abs=1e-6)
    assert at_first["image-specific share"] == pytest.approx(0, abs=1e-6)
    assert figures["entropy"] == pytest.approx(0)
    assert figures["between-image variation"] == pytest.approx(1 + 1 / 15)  # two such maps correlate by -1 / 15
    assert figures["image-specific share"] == pytest.approx(0.8)  # a fifth of the average map lies on each patch


def test_checkpoints_are_stacked_in_order_for_one_layer_and_the_requested_heads(
    model: MiniViT, images: torch.Tensor
) -> None:
    snapshots = [take_snapshot(model, images), take_snapshot(model, images.flip(3))]
    checkpoints = [Checkpoint(0), Checkpoint(0, 2)]
    results = {
        checkpoint: (snapshot, map_metrics(snapshot, snapshots[0]))
        for checkpoint, snapshot in zip(checkpoints, snapshots, strict=True)
    }
    over_training = stack(results, 1, ["max", 0], [Checkpoint(3)])
    assert over_training.checkpoints == checkpoints
    assert over_training.maps.shape == (2, 19, 2, 16)
    np.testing.assert_array_equal(over_training.maps[1, :, 0], snapshots[1].maps[:, 1, 3])
    np.testing.assert_array_equal(over_training.maps[1, :, 1], snapshots[1].maps[:, 1, 0])
    np.testing.assert_array_equal(over_training.mean_map[1, 1], results[checkpoints[1]][1].mean_map[1, 0])
    assert over_training.metrics["divergence"][0] == pytest.approx(0, abs=1e-6)
    assert (over_training.metrics["divergence"][1] > 0).all()
    assert over_training.probs.shape == (2, 19, 2)
    assert over_training.unreadable == [Checkpoint(3)]
