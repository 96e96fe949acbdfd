"""The shortcuts give the logits and the gradients of the plain model."""

from itertools import product

import pytest
import torch

from minivit.config import ViTConfig
from minivit.fused import FusedViT, forward_cls, has_fused_path, token_pixels
from minivit.layers import keep_patches
from minivit.model import MiniViT

CONFIGS = [  # each activation and number of channels with each value of the others
    ViTConfig(
        norm=norm,
        pos_embed=pos,
        act=("relu", "gelu")[index % 3 % 2],
        depth=depth,
        num_heads=heads,
        embed_dim=16,
        patch_size=8,
        in_chans=(1, 3)[index % 5 % 2],
        stem=stem,
    )
    for index, (norm, pos, depth, heads, stem) in enumerate(
        product(("pre", "post"), ("learned", "sine"), (1, 3), (1, 4), ("patch", "conv"))
    )
]
VARIANTS = [
    ViTConfig(embed_dim=16, patch_size=8, num_heads=2, **settings)
    for settings in (
        {"num_registers": 3},
        {"norm_pre": True, "depth": 2},
        {"qk_norm": True},
        {"pool": "mean", "norm": "pre", "num_registers": 1},
        {"pool": "mean, then norm"},
        {"pool": "cls and mean", "depth": 2},
        {"pool": "cls and distillation", "num_registers": 1, "norm": "pre"},
        {"pos_embed": "rotary", "norm": "pre", "depth": 2, "num_registers": 1},
        {"pos_embed": "rotary"},
        {"num_classes": 0},
    )
]


def random_model(config: ViTConfig) -> MiniViT:
    """A model in float64, so that only a difference in the formulas shows, with no bias at 0."""
    torch.manual_seed(0)
    model = MiniViT(config)
    model.mean.uniform_(0.3, 0.6)
    model.std.uniform_(0.2, 0.4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.double()


def test_logits_and_gradients_are_those_of_the_plain_model():
    for config in CONFIGS + VARIANTS:
        model = random_model(config)
        images = torch.rand(3, config.in_chans, 32, 32, dtype=torch.float64)
        plain, attn = model(images, return_attn=True)
        gradients = torch.autograd.grad(plain.square().sum(), list(model.parameters()))
        assert torch.equal(model(images), plain)
        N = 17 + config.num_registers
        assert [layer.shape for layer in attn] == [(3, config.num_heads, N, N)] * config.depth
        for layer in attn:
            torch.testing.assert_close(layer.sum(-1), torch.ones(3, config.num_heads, N, dtype=torch.float64))
        ways = [FusedViT(model)(images)]
        if has_fused_path(config):
            ways.append(FusedViT(model, in_patches=True)(token_pixels(images, 8)))
        for fused in ways:
            torch.testing.assert_close(fused, plain, atol=1e-10, rtol=1e-8)
            fused_gradients = torch.autograd.grad(fused.square().sum(), list(model.parameters()))
            for ours, theirs in zip(fused_gradients, gradients, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)


def test_dropped_patches_ablated_heads_and_the_rows_of_cls_are_those_of_the_plain_model():
    for config in CONFIGS + VARIANTS:
        model = random_model(config)
        images = torch.rand(2, config.in_chans, 32, 32, dtype=torch.float64)
        keep_idx = torch.tensor([[0, 3, 9], [15, 2, 1]])
        head_mask = torch.ones(config.depth, config.num_heads, dtype=torch.bool)
        head_mask[-1, -1] = False
        plain, attn = model(images, return_attn=True, keep_idx=keep_idx, head_mask=head_mask)
        logits, rows = forward_cls(
            model, keep_patches(model.embed(images), keep_idx, config.num_prefix_tokens), head_mask, keep_idx=keep_idx
        )
        torch.testing.assert_close(logits, plain)
        for row, layer in zip(rows, attn, strict=True):
            assert layer.shape[2] == 4 + config.num_registers
            torch.testing.assert_close(row, layer[:, :, :1])
        for other in ({"keep_idx": keep_idx}, {}):
            assert not torch.allclose(model(images, **other), plain, atol=1e-6)


def test_tokens_may_enter_a_later_block():
    model = random_model(ViTConfig(depth=3, num_heads=2, embed_dim=16, patch_size=8))
    plain, out = model.forward_tokens(model.embed(torch.rand(2, 3, 32, 32, dtype=torch.float64)), ["tokens"])
    for layer, tokens in enumerate(out["tokens"]):
        torch.testing.assert_close(forward_cls(model, tokens, first=layer)[0], plain)


def test_one_post_norm_block_is_computed_from_patches():
    assert [config for config in CONFIGS + VARIANTS if has_fused_path(config)] == [
        config
        for config in [*CONFIGS, VARIANTS[-1]]
        if (config.depth, config.norm, config.stem) == (1, "post", "patch")
    ]
    dropout = ViTConfig(embed_dim=16, drop_rate=0.5)
    assert has_fused_path(dropout) and not has_fused_path(dropout, training=True)
    with pytest.raises(AssertionError):
        FusedViT(MiniViT(ViTConfig(embed_dim=16, depth=2)), in_patches=True)


def test_dropout_acts_in_training_and_not_in_evaluation():
    torch.manual_seed(0)
    fused = FusedViT(MiniViT(ViTConfig(embed_dim=16, drop_rate=0.5)))
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(fused(images), fused(images))
    fused.eval()
    torch.testing.assert_close(fused(images), fused.model(images))
