"""Patches decorrelated while a model learns."""

import torch
from trainings import trained, weights

from minivit.data import load_split, patches
from minivit.engine.whitening import unwhitened_state_dict, whiten
from minivit.model import MiniViT


def test_whitening_decorrelates_the_training_patches_and_is_folded_into_what_is_kept(tiny):
    config = tiny.changed(whiten=True, normalize=True, epochs=1, patch_size=4)
    train_set, test_set = load_split(config)
    model = MiniViT(config.model)
    model.mean.fill_(0.5)
    model.std.fill_(0.25)
    whiten(model, train_set)
    cut = patches((train_set.images.float() / 255 - 0.5) / 0.25, 4).flatten(2).flatten(0, 1)
    matrix = model.patch_embed.proj.parametrizations.weight[0].matrix
    covariance = (cut @ matrix.T).T.cov()
    strong = covariance.diagonal() > 0.9  # the rest is noise and stays below
    assert strong.sum() > 20 and covariance.diagonal().max() < 1.01
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    plain = MiniViT(config.model)
    plain.load_state_dict(unwhitened_state_dict(model))
    images = test_set.images[:8].float() / 255
    torch.testing.assert_close(plain(images), model(images), rtol=1e-5, atol=1e-5)
    run = trained(config)
    assert "patch_embed.proj.weight" in weights(run, 1)
    assert run.load_model(1)(images).isfinite().all()
