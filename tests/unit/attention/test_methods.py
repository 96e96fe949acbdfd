import pytest
import torch
from small_models import random_images, random_model

from minivit import attention
from minivit.attention import attribution
from minivit.attention.attribution import leave_one_out, occlusion
from minivit.attention.logit_parts import direct_contributions, logit_lens
from minivit.attention.methods import FORMER_NAMES, METHODS, available_methods, query_note, stem_note
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.model import MiniViT


def test_methods_are_in_the_agreed_order_and_described():
    assert list(METHODS) == [
        *("cls_map", "rollout", "relevance", "logit_shares", "contributions", "logit_lens", "value_weighted"),
        *("occlusion", "leave_one_out"),
    ]
    for method in METHODS.values():
        assert method.title and method.formula and method.limitations and method.unit and "arXiv" in method.source
        assert not (method.needs_class and method.needs_layer)


def test_each_method_gives_what_its_own_function_gives():
    model, images, classes = random_model(norm="pre"), random_images(2), torch.tensor([3, 1])
    _, attn = model(images, return_attn=True)
    expected = {
        "cls_map": attention.cls_map(attn[1], 2),
        "rollout": attention.rollout(attn),
        "relevance": attention.relevance(model, images, classes),
        "logit_shares": attention.logit_shares(model, images, classes).patches,
        "contributions": direct_contributions(model, images, classes).heads.sum((1, 2))[:, 1:],
        "logit_lens": logit_lens(model, images, classes)[:, -1, 1:],
        "value_weighted": attention.cls_map(attention.value_weighted(model, images)[1], 2),
        "occlusion": occlusion(model, images, classes),
        "leave_one_out": leave_one_out(model, images, classes),
    }
    for name in METHODS:
        maps = METHODS[name].attribute(model, images, classes, layer=1, head=2)
        assert maps.shape == (2, 16) and not maps.requires_grad
        torch.testing.assert_close(maps, expected[name].detach())


def test_a_method_is_signed_where_its_maps_go_below_zero():
    model, images, classes = random_model(norm="pre"), random_images(8), torch.arange(8) % 4
    for name, method in METHODS.items():
        assert (METHODS[name].attribute(model, images, classes).min() < 0) == method.signed, name


def test_only_methods_that_need_a_class_change_with_it():
    model, images = random_model(norm="pre"), random_images(2)
    classes = torch.tensor([0, 1]), torch.tensor([2, 3])
    for name, method in METHODS.items():
        first, second = (METHODS[name].attribute(model, images, targets) for targets in classes)
        assert torch.equal(first, second) != method.needs_class, name
        difference = METHODS[name].attribute(model, images, classes[0], contrast=classes[1])
        assert torch.equal(first, difference) != method.needs_class, name


def test_pixels_may_be_integers():
    model, classes = random_model(norm="pre"), torch.tensor([0, 1])
    images = (random_images(2) * 255).to(torch.uint8)
    for name in METHODS:
        maps = METHODS[name].attribute(model, images, classes)
        torch.testing.assert_close(maps, METHODS[name].attribute(model, images.float() / 255, classes))


def test_rollout_is_unavailable_for_one_layer_with_the_reason():
    single, two = ViTConfig(norm="pre"), ViTConfig(depth=2, norm="pre")
    assert METHODS["rollout"].unavailable(single)
    assert set(METHODS) - set(available_methods(single)) == {"rollout"}
    assert available_methods(two) == METHODS
    with pytest.raises(ConfigError, match="layer"):
        METHODS["rollout"].attribute(MiniViT(single).eval(), torch.rand(1, 3, 32, 32), torch.tensor([0]))


def test_methods_that_need_too_much_memory_for_one_image_are_unavailable():
    large = ViTConfig(img_size=512, patch_size=8, embed_dim=48, depth=3, num_heads=12, norm="pre")
    assert set(METHODS) - set(available_methods(large)) == {"rollout", "relevance"}
    assert METHODS["relevance"].why_unavailable(large) == (
        "For an image of this model it needs 4.5 GiB of memory, more than 2 GiB."
    )


def test_an_unknown_layer_or_head_is_refused():
    model, images, classes = random_model(), random_images(1), torch.tensor([0])
    with pytest.raises(ConfigError, match="no layer 4; the model has 3"):
        METHODS["cls_map"].attribute(model, images, classes, layer=3)
    with pytest.raises(ConfigError, match="no head"):
        METHODS["cls_map"].attribute(model, images, classes, head=9)


def test_notes_say_where_a_dropped_patch_leaves_traces_and_where_cls_has_one_query():
    assert "keep traces of a dropped patch" in stem_note(ViTConfig(stem="conv")) and not stem_note(ViTConfig())
    keys, keys_and_values = (query_note(METHODS[name], layer=0, token=0) for name in ("cls_map", "value_weighted"))
    assert keys.endswith("differ only by their keys.") and keys_and_values.endswith("by their keys and values.")
    assert not query_note(METHODS["relevance"], 0, 0)
    assert not query_note(METHODS["cls_map"], 0, 1) and not query_note(METHODS["cls_map"], 1, 0)


def test_links_of_earlier_versions_name_methods_that_exist():
    assert FORMER_NAMES["occlusion_drop"] == "leave_one_out" and set(FORMER_NAMES.values()) <= set(METHODS)


def test_a_method_that_removes_patches_reports_its_progress_and_ends_where_the_report_raises(
    monkeypatch,
):
    monkeypatch.setattr(attribution, "memory_bounded_chunks", lambda rows, model: rows.split(5))
    model, images, classes = random_model(), random_images(3), torch.tensor([0, 1, 2])
    for method in (method for method in METHODS.values() if method.removes_patches):
        shares: list[float] = []
        maps = method.attribute(model, images, classes, report=shares.append)
        assert len(shares) > 6 and shares == sorted(shares) and shares[0] == 0 and 0.9 < shares[-1] < 1
        assert maps.shape == (3, 16)
        with pytest.raises(KeyboardInterrupt):
            method.attribute(model, images, classes, report=Interrupt(after=2))


class Interrupt:
    """A report that raises, as that of a page does when the user leaves it."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, share: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
