"""Logit shares: complete to the last digit, and the shares of the frozen network computed one token at a time."""

import numpy as np
import pytest
import torch
from small_models import random_images, random_model, settings_of, weights_of
from yardstick import activate, layer_norm, softmax

from minivit.attention import class_score, logit_shares

KINDS = [
    {"depth": 1, "num_heads": 1, "norm": "post", "pos_embed": "sine", "act": "relu"},
    {"depth": 3, "norm": "pre", "pos_embed": "learned", "act": "gelu"},
    {"depth": 6, "norm": "pre", "stem": "conv", "act": "gelu"},
    {"depth": 2, "norm": "pre", "num_registers": 3, "norm_pre": True, "qk_norm": True, "act": "quick_gelu"},
    {"depth": 2, "norm": "pre", "pool": "cls and mean", "act": "gelu_tanh"},
    {"depth": 3, "norm": "pre", "pos_embed": "rotary", "num_registers": 2},
    {"depth": 2, "norm": "pre", "pool": "cls and distillation", "num_registers": 1},
    {"depth": 2, "norm": "post", "pool": "mean, then norm"},
]


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: ", ".join(map(str, settings.values())))
def test_patches_cls_and_biases_are_together_the_logit(settings):
    model, images = random_model(**settings).double(), random_images(3).double()
    classes, contrast = torch.tensor([0, 3, 1]), torch.tensor([1, 2, 0])
    for against in (None, contrast):
        shares = logit_shares(model, images, classes, against)
        assert shares.patches.shape == (3, 16) and shares.cls.shape == shares.bias.shape == (3,)
        torch.testing.assert_close(shares.logit, class_score(model(images), classes, against), atol=1e-9, rtol=0)
        assert min(shares.patches.abs().max(), shares.cls.abs().max(), shares.bias.abs().max()) > 1e-3


@pytest.mark.parametrize("settings", KINDS[:2], ids=["post-norm", "pre-norm"])
def test_a_share_is_what_the_frozen_network_gives_for_one_token_alone(settings):
    """With attention, deviations and factors of the activation frozen, the network is linear in tokens and biases."""
    model = random_model(**settings).double()
    images, classes = random_images(2).double(), torch.tensor([2, 0])
    shares = logit_shares(model, images, classes)
    for index, target in enumerate(classes.tolist()):
        tokens = model.embed(images[index : index + 1])[0].detach().numpy()
        alone = [frozen_logits(model, tokens, keep=token)[target] for token in range(len(tokens))]
        assert shares.cls[index].item() == pytest.approx(alone[0], abs=1e-9)
        np.testing.assert_allclose(shares.patches[index].numpy(), alone[1:], atol=1e-9)
        biases = frozen_logits(model, tokens, keep=None)[target]
        assert shares.bias[index].item() == pytest.approx(biases, abs=1e-9)


def frozen_logits(model, tokens, keep):
    """Logits of the frozen network for one token without biases, or for the biases alone where `keep` is None."""
    w, settings = weights_of(model), settings_of(model)
    eps, H = (1e-6 if settings["norm"] == "pre" else 1e-5), settings["num_heads"]
    with_bias = float(keep is None)
    x = tokens  # the real pass, which freezes the factors
    part = np.zeros_like(tokens) if keep is None else np.where(np.arange(len(tokens))[:, None] == keep, tokens, 0.0)

    def norm(name, x, part):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        deviation = np.sqrt(x.var(1, keepdims=True) + eps)
        return layer_norm(x, weight, bias, eps), (
            part - part.mean(1, keepdims=True)
        ) / deviation * weight + with_bias * bias

    def linear(name, x, part):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return x @ weight.T + bias, part @ weight.T + with_bias * bias

    def attend(name, x, part):
        qkv, qkv_part = linear(f"{name}.qkv", x, part)
        (q, k, v), v_part = np.split(qkv, 3, axis=1), np.split(qkv_part, 3, axis=1)[2]
        heads = np.split(np.arange(q.shape[1]), H)
        scores = [q[:, h] @ k[:, h].T / np.sqrt(len(h)) for h in heads]
        attn = [np.stack([softmax(row) for row in matrix]) for matrix in scores]
        outs = (
            np.concatenate([a @ values[:, h] for a, h in zip(attn, heads, strict=True)], 1) for values in (v, v_part)
        )
        return linear(f"{name}.proj", *outs)

    def mlp(name, x, part):
        hidden, hidden_part = linear(f"{name}.fc1", x, part)
        active = activate(hidden, settings["activation"])
        return linear(f"{name}.fc2", active, hidden_part * active / hidden)

    def plus(pair, other):
        return pair[0] + other[0], pair[1] + other[1]

    pair = x, part
    for layer in range(settings["depth"]):
        name = f"blocks.{layer}"
        if settings["norm"] == "post":
            pair = norm(f"{name}.norm1", *plus(pair, attend(f"{name}.attn", *pair)))
            pair = norm(f"{name}.norm2", *plus(pair, mlp(f"{name}.mlp", *pair)))
        else:
            pair = plus(pair, attend(f"{name}.attn", *norm(f"{name}.norm1", *pair)))
            pair = plus(pair, mlp(f"{name}.mlp", *norm(f"{name}.norm2", *pair)))
    if settings["norm"] == "pre":
        pair = norm("norm", *pair)
    return linear("head", *pair)[1][0]


def test_other_users_of_the_model_see_no_hooks():
    model, images = random_model(), random_images(1)
    logit_shares(model, images, torch.tensor([0]))
    assert not any(module._forward_hooks for module in model.modules()) and not model.training
