"""What weights are made of, against numpy's eigenvectors and the yardstick's attention, image by image."""

import numpy as np
import pytest
import torch
import yardstick
from small_models import KINDS, random_images, random_model, settings_of, weights_of

from minivit.attention import METHODS, decomposition, heads, maps
from minivit.attention.maps import uniform_rollout
from minivit.config import ViTConfig


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the attention of 4 images of a `random_model`, so that more come in batches of 4."""
    monkeypatch.setattr(maps, "MAX_VALUES", 4.5 * 3 * 4 * 17**2)


@pytest.mark.parametrize(("num_filters", "channels", "patch"), [(64, 3, 2), (8, 3, 4), (40, 1, 4)])
def test_filter_components_are_the_eigenvectors_of_the_filters_covariance(num_filters, channels, patch):
    weight = torch.randn(num_filters, channels, patch, patch, generator=torch.Generator().manual_seed(0)) + 1
    components, shares = decomposition.filter_components(weight)
    eigenvalues, vectors = np.linalg.eigh(np.cov(weight.flatten(1).double().numpy(), rowvar=False))
    num = min(28, num_filters - 1, channels * patch * patch)
    assert components.shape == (num, channels, patch, patch) and shares.shape == (num,)
    np.testing.assert_allclose(shares, eigenvalues[::-1][:num] / eigenvalues.sum(), atol=1e-6)
    for component, vector in zip(components.flatten(1).numpy(), vectors.T[::-1], strict=False):
        assert abs(component @ vector) == pytest.approx(1, abs=1e-5)
        assert component.max() == np.abs(component).max()
        assert np.linalg.norm(component) == pytest.approx(1, abs=1e-5)


def test_filters_that_mix_two_patterns_have_two_components():
    red, edge = torch.zeros(2, 3, 4, 4)
    red[0], edge[:, :, :2], edge[:, :, 2:] = 1, 1, -1
    mixed = torch.randn(30, 2, generator=torch.Generator().manual_seed(1)) @ torch.stack([red, edge]).flatten(1)
    components, shares = decomposition.filter_components(mixed.unflatten(1, (3, 4, 4)))
    assert shares[:2].sum().item() == pytest.approx(1) and shares[1] > 0.1
    plane = torch.linalg.qr(torch.stack([red, edge]).flatten(1).T).Q
    for component in components[:2].flatten(1):
        torch.testing.assert_close(plane @ (plane.T @ component), component, atol=1e-5, rtol=0)


def test_filters_that_are_all_alike_explain_nothing():
    _, shares = decomposition.filter_components(torch.ones(8, 1, 2, 2))
    assert shares.tolist() == [0] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_head_statistics_are_means_over_images_of_each_layer_and_head(kind):
    model, images = random_model(**kind), random_images(11)
    statistics = heads.head_statistics(model, images)
    passes = [yardstick.vit_forward(weights_of(model), image.numpy(), **settings_of(model)) for image in images]
    for layer in range(3):
        attn = [image.attn[layer] for image in passes]
        far = np.mean([yardstick.attention_distance(matrix, 4, 8) for matrix in attn], 0)
        np.testing.assert_allclose(statistics.distance[layer], far, atol=1e-4)
        np.testing.assert_allclose(statistics.cls_maps[layer], np.mean(attn, 0)[:, 0, 1:], atol=1e-5)


@pytest.mark.parametrize("depth", [2, 5])
def test_uniform_attention_gives_the_rollout_that_is_marked_on_the_scale(depth):
    model = random_model(depth=depth)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    maps = METHODS["rollout"].attribute(model, random_images(2))
    np.testing.assert_allclose(maps, uniform_rollout(depth, model.config.num_patches + 1), atol=1e-6)


def test_the_terms_of_cls_agree_with_the_yardstick_and_explain_its_attention():
    model, images = random_model(norm="post", pos_embed="sine", act="relu"), random_images(11)
    terms_of_cls, parameters = decomposition.cls_terms(model, images), weights_of(model)
    qkv, bias = parameters["blocks.0.attn.qkv.weight"], parameters["blocks.0.attn.qkv.bias"]
    rows = []  # of each image the scores of CLS in four terms, (4, H, N)
    for image, cls_maps in zip(images, terms_of_cls.maps, strict=True):
        content = np.vstack([parameters["cls_token"][0], yardstick.embed(parameters, image.numpy())])
        terms = yardstick.position_content(
            content, parameters["pos_embed"][0], qkv[:16], bias[:16], qkv[16:32], bias[16:32], 4
        )
        rows.append(np.array(terms)[:, :, 0])
        centered = rows[-1] - rows[-1].mean(-1, keepdims=True)
        np.testing.assert_allclose(cls_maps, centered[..., 1:].transpose(1, 0, 2), atol=1e-5)
    for head in range(4):
        centered = np.concatenate([row[:, head] - row[:, head].mean(-1, keepdims=True) for row in rows], -1)  # (4, B·N)
        assert terms_of_cls.deviation[head] == pytest.approx(centered.sum(0).std(), abs=1e-5)
        patches = [row[:, head, 1:] for row in rows]  # CLS is a key too, but no patch
        centered = np.concatenate([row - row.mean(-1, keepdims=True) for row in patches], -1)
        total = centered.sum(0)
        np.testing.assert_allclose(terms_of_cls.shares[head], centered @ total / (total @ total), atol=1e-4)
        assert terms_of_cls.position_share[head] == pytest.approx(
            (centered[1] + centered[3]) @ total / (total @ total), abs=1e-4
        )
        attn = [yardstick.softmax(row[:, head].sum(0))[1:] for row in rows]
        assert terms_of_cls.peak[head] == pytest.approx(np.mean([row.max() / row.mean() for row in attn]), rel=1e-4)


def test_a_small_model_is_analyzed_on_all_images_and_a_large_one_on_few():
    large = ViTConfig(img_size=224, patch_size=16, embed_dim=768, depth=12, num_heads=12, mlp_ratio=4)
    assert maps.num_affordable(ViTConfig(), 64) == 64
    assert maps.num_affordable(large, 64) == 8
    assert 8 < maps.num_affordable(large.model_copy(update={"embed_dim": 192}), 256) < 256
