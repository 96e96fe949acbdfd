"""Scores of a model that was trained to tell a red patch from a blue one, so that it is known where it has to look."""

import json
import re

import pytest
import torch
import torch.nn.functional as F

from minivit.attention.localization import (
    Localization,
    Share,
    localize,
    localize_methods,
    pointing,
    revealing_controls,
)
from minivit.attention.methods import METHODS, available_methods
from minivit.cli.faithfulness import corrected_verdicts, faithfulness_of_methods, faithfulness_report
from minivit.config import TrainConfig, ViTConfig
from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.errors import ConfigError, DataError
from minivit.model import MiniViT
from minivit.runs import Run

Known = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, masks, labels


def one_patch_tells(count: int, seed: int) -> Known:
    """Gray noise with one patch of 8 px in red or in blue, which is the class; the masks are that patch."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(80, 176, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels, places = (torch.randint(0, most, (count,), generator=generator) for most in (2, 16))
    masks = F.one_hot(places, 16).bool().view(-1, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    for color, label in ((0, 0), (2, 1)):
        images[:, color][masks & (labels == label)[:, None, None]] = 255
        images[:, 2 - color][masks & (labels == label)[:, None, None]] = 0
    return images, masks, labels


@pytest.fixture(scope="module")
def untrained() -> MiniViT:
    torch.manual_seed(0)
    return MiniViT(ViTConfig(depth=2, num_heads=2, embed_dim=16, patch_size=8, num_classes=2)).eval()


@pytest.fixture(scope="module")
def trained(untrained: MiniViT) -> MiniViT:
    model = MiniViT(untrained.config)
    model.load_state_dict(untrained.state_dict())
    optimizer, seen = torch.optim.Adam(model.parameters(), lr=3e-3), one_patch_tells(4000, seed=1)
    for images, _, labels in zip(*(part.split(50) for part in seen), strict=True):
        optimizer.zero_grad()
        F.cross_entropy(model(images.float() / 255), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def known_images() -> Known:
    return one_patch_tells(60, seed=2)


OCCLUSIONS = METHODS["occlusion"].title, METHODS["leave_one_out"].title


def by_name(scored: list) -> dict[str, Localization]:
    return {result.name: result for result in scored}


def test_a_trained_model_attends_to_the_object_and_an_untrained_one_does_not(trained, untrained, known_images):
    now, before = by_name(localize_methods(trained, *known_images)), by_name(localize_methods(untrained, *known_images))
    for name in ("Attention rollout", *OCCLUSIONS):
        assert now[name].pointing.value > 0.9 and now[name].verdict == "on the object", name
    assert now["Class relevance"].energy.value > before["Class relevance"].energy.value + 0.1
    assert abs(before["Attention rollout"].energy.value - 1 / 16) < 0.01


def test_every_layer_and_head_has_its_row(trained, known_images):
    names = list(by_name(localize_methods(trained, *known_images)))
    heads = [f"layer {layer}, {head}" for layer in (1, 2) for head in ("mean over heads", "head 1", "head 2")]
    assert names == [
        *(f"{name} (control, no model)" for name in ("constant", "brightness", "center", "random")),
        *(f"{METHODS['cls_map'].title}, {head}" for head in heads),
        "Attention rollout", "Class relevance", "Logit shares", "Logit lens",
        *(f"Value-weighted attention, {head}" for head in heads), *OCCLUSIONS,
    ]  # fmt: skip


def test_images_without_masks_have_no_known_answers(trained, known_images):
    images, _, labels = known_images
    with pytest.raises(DataError, match="'shapes'"):
        localize_methods(trained, images, None, labels)


def test_the_verdict_depends_on_which_side_of_a_uniform_map_the_interval_is():
    share = Share(0.5, 0.4, 0.6)
    words = [
        Localization("x", share, share, Share(middle, middle - 0.1, middle + 0.1)).verdict for middle in (0.2, 0, -1)
    ]
    assert words == ["on the object", "no more on the object than a uniform map", "off the object"]


def test_random_maps_of_few_images_are_rarely_on_the_object(known_images):
    masks = known_images[1]
    generator = torch.Generator().manual_seed(0)
    for num_images in (2, 5):
        words = []
        for _ in range(400):
            some = torch.randint(len(masks), (num_images,), generator=generator)
            words.append(localize("x", torch.rand(num_images, 16, generator=generator), masks[some], 8).verdict)
        assert 0 < words.count("on the object") < 0.05 * len(words)  # 2.5% are expected


def test_a_few_images_that_a_map_misses_are_no_proof_that_it_avoids_the_objects(known_images):
    masks = known_images[1]
    missing = F.one_hot((masks[:, ::8, ::8].flatten(1).float().argmax(1) + 1) % 16, 16).float()
    assert localize("x", missing[:5], masks[:5], 8).verdict == "no more on the object than a uniform map"
    assert localize("x", missing[:1], masks[:1], 8).energy.high > 0.5
    all_of_them = localize("x", missing.repeat(3, 1), masks.repeat(3, 1, 1), 8)
    assert all_of_them.verdict == "off the object" and all_of_them.energy.value == 0


def test_one_image_is_not_enough_for_a_verdict(known_images):
    masks = known_images[1][:1]
    result = localize("x", masks[:, ::8, ::8].flatten(1).float(), masks, 8)
    assert (result.energy.value, result.pointing.value) == (1, 1)
    assert result.verdict == "no more on the object than a uniform map"


def test_of_several_highest_patches_the_share_counts_that_touches_the_object(known_images):
    masks = known_images[1][:2]
    touching = masks[:, ::8, ::8].flatten(1).float()
    assert pointing(torch.ones(2, 16), masks, 8).tolist() == [1 / 16] * 2
    assert pointing(touching.maximum(touching.roll(1, 1)), masks, 8).tolist() == [0.5] * 2


def test_controls_that_lie_on_the_object_are_named(trained, known_images):
    images, masks, labels = known_images
    assert revealing_controls(localize_methods(trained, images, masks, labels)) == ""
    lit = (images // 4).where(~masks[:, None], 255)
    assert "brightness (control, no model)." in revealing_controls(localize_methods(trained, lit, masks, labels))


def test_leave_one_out_beats_random_rankings_in_both_tests_and_brightness_not_in_both(trained, known_images):
    results = faithfulness_of_methods(trained, known_images[0])
    verdicts = corrected_verdicts(results)
    assert set(results) == {*available_methods(trained.config), "constant", "brightness", "center"}
    deletion, insertion = verdicts["leave_one_out"]
    assert deletion.outcome == insertion.outcome == "better"
    assert results["leave_one_out"].mean_correlation == pytest.approx(1)
    assert deletion.area < deletion.random.control < insertion.area
    for control in ("constant", "center"):
        assert {verdict.outcome for verdict in verdicts[control]} == {"no difference"}
    assert {verdict.outcome for verdict in verdicts["brightness"]} != {"better"}


def test_the_report_of_a_run_has_both_tables_and_the_untrained_model_beside(tiny: TrainConfig):
    run = Run.create(tiny.changed(epochs=1))
    train(run.config, run, SILENT)
    num_images = len(load_split(run.config)[1])
    text = faithfulness_report(run, num_images=10_000)
    assert num_images < 30 and f"{num_images} test images" in text and "epoch 1" in text
    assert (
        len(
            re.findall(
                rf"^\| {METHODS['cls_map'].title}, layer 2, head 1 \|( 0\.\d+ \(0\.\d+–0\.\d+\) \|){{4}}", text, re.M
            )
        )
        == 1
    )
    assert len(re.findall(r"^\| Class relevance \| 0\.\d+ \| .*(better|worse|difference) \(p = ", text, re.M)) == 1
    assert "re-initialized" not in text
    numbers = json.loads(faithfulness_report(run, epoch=0, num_images=8, as_json=True, with_cascade=True))
    cls_cascade = numbers["methods"]["cls_map"]["cascade"]
    assert list(cls_cascade["steps"]) == ["head", "block 2", "block 1", "embedding"]
    assert cls_cascade["steps"]["head"]["mean"] == pytest.approx(1)  # CLS attends to patches below the head
    assert numbers["methods"]["brightness"]["cascade"]["steps"]["embedding"]["mean"] == pytest.approx(1)
    localization = numbers["localization"]
    assert "| Untrained |" in text
    assert localization["trained"].keys() == localization["untrained"].keys()
    energy = localization["trained"]["Class relevance"]["energy"]
    assert 0 < energy["low"] < energy["value"] < energy["high"] < 1
    assert re.search(r"\| Class relevance \| 0\.\d{3} \(0\.\d{3}–0\.\d{3}\) \|", text)
    assert "nan" not in text
    assert cls_cascade["steps"]["embedding"]["mean"] < 0.999 and "cascade" not in numbers["methods"]["centre"]
    assert numbers["methods"]["cls_map"]["seconds_per_map"] > 0
    assert (numbers["epoch"], numbers["num_images"]) == (0, 8)
    assert {"relevance", "constant", "brightness", "centre"} <= set(numbers["methods"])
    for curve in ("deletion", "insertion"):
        entry = numbers["methods"]["relevance"][curve]
        assert entry["verdict"] in ("better", "worse", "no difference") and set(entry["controls"]) == {
            "random",
            "other_images",
        }
        assert entry["difference"] == pytest.approx(entry["mean"] - entry["controls"]["random"], abs=1e-6)
        assert entry["interval"][0] <= entry["difference"] <= entry["interval"][1]
    with pytest.raises(ConfigError, match="at least 2"):
        faithfulness_report(run, num_images=1)
