"""Attention: what the inspector is given is what each method says of that image, epoch, layer, head and token."""

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from minivit.attention import attend, rollout, value_weighted
from minivit.attention.methods import METHODS, query_note
from minivit.data import load_split
from minivit.runs import Run
from tests.app.conftest import Open, sent, unpacked

IMAGE, EPOCH = 5, 1
CROSS, CIRCLE = 1, 2  # of star, cross, circle
POST_NORM = [name for name in METHODS if name != "contributions"]  # the methods of the run
ASKED = {"image": IMAGE, "epoch": EPOCH, "class": "cross", "against": "circle"}


def inspector_values(page: AppTest, name: str = "values") -> np.ndarray:
    """The values (L, H, N, N), or (N-1,), that the inspector has."""
    data = sent(page)[name]
    values = unpacked(data["values"])
    return values / 65535 * unpacked(data["rowScales"])[..., None] if values.dtype == np.uint16 else values


def image_of(run: Run) -> torch.Tensor:
    return load_split(run.config)[1].images[IMAGE : IMAGE + 1]


@pytest.mark.parametrize("method", POST_NORM)
def test_each_method_s_values_are_those_of_the_image_the_epoch_and_the_classes(
    open_page: Open, trained: Run, method: str
) -> None:
    page = open_page("attention", run=trained.id, method=method, **ASKED)
    model, image = trained.load_model(EPOCH), image_of(trained)
    if method == "cls_map":
        expected = attend(model, image)[1][0]
    elif method == "value_weighted":
        expected = torch.cat(value_weighted(model, image))
    else:
        expected = METHODS[method].attribute(model, image, torch.tensor([CROSS]), contrast=torch.tensor([CIRCLE]))[0]
    np.testing.assert_allclose(inspector_values(page), expected, atol=float(expected.abs().max()) / 500)
    assert np.array_equal(unpacked(sent(page)["image"]), image[0].permute(1, 2, 0))
    alone = open_page("attention", run=trained.id, method=method, **{**ASKED, "against": ""})
    assert np.array_equal(inspector_values(alone), inspector_values(page)) != METHODS[method].needs_class


@pytest.mark.parametrize("method", ["cls_map", "relevance"])
def test_the_untrained_map_is_the_same_of_epoch_0(open_page: Open, trained: Run, method: str) -> None:
    page = open_page("attention", run=trained.id, method=method, off="p3", **ASKED)
    untrained = open_page("attention", run=trained.id, method=method, off="p3", **{**ASKED, "epoch": 0})
    assert np.array_equal(inspector_values(page, "before"), inspector_values(untrained))
    assert not np.array_equal(inspector_values(page, "before"), inspector_values(page))


def test_without_an_untrained_checkpoint_its_map_is_left_out_and_the_page_says_so(
    open_page: Open, trained: Run
) -> None:
    trained.checkpoint_path(0).unlink()
    page = open_page("attention", run=trained.id)
    assert sent(page)["before"] is None
    assert any("no checkpoint of epoch 0" in caption.value for caption in page.caption)


def test_layer_head_and_token_of_the_link_are_shown(open_page: Open, trained: Run) -> None:
    first = open_page("attention", run=trained.id, layer=1)
    note = query_note(METHODS["cls_map"], 0, 0)
    assert note in [caption.value.replace("\\", "") for caption in first.caption]
    data = sent(open_page("attention", run=trained.id, layer=1, head=2, token="p3"))
    assert data["requested"] == {"layer": 0, "head": 1, "token": 4}
    data = sent(open_page("attention", run=trained.id))
    assert data["requested"] == {"layer": 1, "head": "mean", "token": 0}  # the last layer


def test_masked_patches_get_no_attention_and_the_others_share_it(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, off="p3,p4", **ASKED)
    on = [place for place in range(17) if place not in (4, 5)]
    keep = torch.tensor([[place - 1 for place in on[1:]]])
    expected = attend(trained.load_model(EPOCH), image_of(trained), keep)[1][0]
    values = inspector_values(page)
    np.testing.assert_allclose(values[:, :, on][..., on], expected, atol=float(expected.max()) / 500)
    assert not values[:, :, [4, 5]].any() and not values[..., [4, 5]].any()
    assert sent(page)["masked"] == [4, 5]
    assert sent(page)["valueFormat"]["uniform"] == pytest.approx(1 / 15)
    assert sent(page)["valueFormat"]["uniform_name"] == "uniform 1/15"


def test_rollout_marks_what_uniform_attention_would_give(open_page: Open, trained: Run) -> None:
    value_format = sent(open_page("attention", run=trained.id, method="rollout"))["valueFormat"]
    uniform = torch.full((1, 2, 17, 17), 1 / 17)
    assert value_format["uniform"] == pytest.approx(float(rollout([uniform, uniform])[0, 0]))


@pytest.mark.parametrize("method", POST_NORM)
def test_the_absolute_scale_is_the_same_at_every_epoch_and_made_for_the_newest(
    open_page: Open, trained: Run, method: str
) -> None:
    tops = [sent(open_page("attention", run=trained.id, method=method, epoch=epoch))["absoluteMax"] for epoch in (0, 3)]
    assert tops[0] == tops[1] > 0
    if method not in ("occlusion", "relevance"):
        return
    test_set = load_split(trained.config)[1].images[:]
    model = trained.load_model()
    classes = attend(model, test_set)[0].argmax(1)
    assert tops[0] == pytest.approx(
        float(METHODS[method].attribute(model, test_set, classes).abs().quantile(0.99)), rel=1e-4
    )


def test_signed_methods_are_centered_at_0_and_titled_by_their_classes(open_page: Open, trained: Run) -> None:
    for method in POST_NORM:
        value_format = sent(open_page("attention", run=trained.id, method=method, **ASKED))["valueFormat"]
        assert value_format["signed"] == METHODS[method].signed
        assert value_format["title"].endswith("cross, not circle") == METHODS[method].needs_class


def test_the_mark_of_uniform_rollout_stays_where_it_is_when_patches_are_masked(open_page: Open, trained: Run) -> None:
    marks = [
        sent(open_page("attention", run=trained.id, method="rollout", **masked))["valueFormat"]["uniform"]
        for masked in ({}, {"off": "p0,p1,p2"})
    ]
    assert marks[0] == marks[1] == pytest.approx((1 - 0.5**2) / 17)
