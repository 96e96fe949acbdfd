"""Cosine similarity and principal components of features, against the same written out with numpy's SVD."""

import numpy as np
import pytest
import torch
from small_models import KINDS, random_images, random_model

from minivit.attention.tokens import PatchComponents, cosine_similarity, patch_components, token_features


@pytest.mark.parametrize(
    "settings", [*(kind | {"num_registers": 2} for kind in KINDS), {"stem": "conv", "num_classes": 0}], ids=str
)
def test_components_are_those_of_a_singular_value_decomposition_of_all_patches(settings, monkeypatch):
    monkeypatch.setattr("minivit.attention.maps.MAX_BATCH", 2)  # three batches
    model, images = random_model(**settings).double(), random_images(5).double()
    components = patch_components(model, images)
    for depth in range(4):
        patches = token_features(model, images)[:, depth, -16:].reshape(80, 16).numpy()
        centered = patches - patches.mean(0)
        _, scales, rows = np.linalg.svd(centered)
        shares = scales**2 / (scales**2).sum()
        np.testing.assert_allclose(components.explained[depth], shares[:3], atol=1e-9)
        for k in range(3):
            row = rows[k] * np.sign(rows[k][np.abs(rows[k]).argmax()])
            np.testing.assert_allclose(components.directions[depth, :, k], row, atol=1e-6)


def test_colors_share_a_scale_on_which_the_mean_is_gray():
    directions = torch.eye(4, dtype=torch.float64)[None, :, :3]
    components = PatchComponents(torch.ones(1, 1, 4), directions, torch.tensor([[4.0, 1, 0]]), torch.ones(1, 3))
    patches = torch.tensor([[[1, 1, 1, 1], [6, 1, 1, 9], [1, 6, 1, 1], [-4, -1.5, 1, 1], [99, 1, 1, 1]]])
    expected = [[128, 128, 128], [255, 128, 128], [128, 255, 128], [0, 64, 128], [255, 128, 128]]
    assert components.colors(patches)[0].tolist() == expected  # 2.5 deviations of 2 to each end


def test_patches_that_are_all_the_same_are_gray_and_explain_nothing():
    model = random_model()
    with torch.no_grad():
        model.patch_embed.proj.weight.zero_()
        model.pos_embed.zero_()
    components = patch_components(model, random_images(2))
    assert components.explained.abs().max() < 1e-6


def test_cosine_similarity_is_that_of_one_patch_with_each_patch_of_any_image():
    query = torch.tensor([[3.0, 4], [1, 0]])  # at two depths
    patches = torch.tensor([[[6.0, 8], [-3, -4], [4, -3]], [[0, 2], [5, 0], [1, 1]]])
    expected = [[1, -1, 0], [0, 1, 0.5**0.5]]
    torch.testing.assert_close(cosine_similarity(query, patches), torch.tensor(expected))
