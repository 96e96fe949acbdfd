from itertools import product

import article_yardstick
import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer

from minivit.config import ViTConfig, preset
from minivit.model import MiniViT, num_parameters


def article_weights(model: MiniViT) -> dict[str, torch.Tensor]:
    """The model's weights under the names of the yardstick."""
    state = model.state_dict()
    q, k, v = (
        dict(zip(("weight", "bias"), parts, strict=True))
        for parts in zip(
            state["blocks.0.attn.qkv.weight"].chunk(3), state["blocks.0.attn.qkv.bias"].chunk(3), strict=True
        )
    )
    named = {"embed.weight": state["patch_embed.proj.weight"].flatten(1), "cls": state["cls_token"].flatten()}
    named["embed.bias"] = state["patch_embed.proj.bias"]
    for name, part in {"q": q, "k": k, "v": v}.items():
        named |= {f"{name}.{kind}": value for kind, value in part.items()}
    theirs = {"attn_out": "attn.proj", "norm1": "norm1", "ff1": "mlp.fc1", "ff2": "mlp.fc2", "norm2": "norm2"}
    for name, ours in theirs.items():
        named |= {f"{name}.{kind}": state[f"blocks.0.{ours}.{kind}"] for kind in ("weight", "bias")}
    return named | {f"out.{kind}": state[f"head.{kind}"] for kind in ("weight", "bias")}


@pytest.mark.parametrize("seed", range(3))
def test_the_article_preset_computes_what_an_independent_implementation_computes(seed):
    torch.manual_seed(seed)
    model = MiniViT(preset("article").model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)  # CLS and biases away from 0, attention away from uniform
        images = torch.rand(4, 3, 32, 32)
        logits, (attn,) = model(images, return_attn=True)
    their_logits, their_attn = article_yardstick.forward(article_weights(model), images)
    torch.testing.assert_close(logits, their_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attn[:, 0], their_attn, atol=1e-5, rtol=0)
    assert attn[:, 0].std() > 1e-3  # it was no uniform map that agreed


def test_the_article_preset_has_28676_parameters():
    assert num_parameters(preset("article").model) == 28_676


def test_counting_parameters_agrees_with_the_built_model():
    config = preset("strong").model
    assert num_parameters(config) == sum(parameter.numel() for parameter in MiniViT(config).parameters())


SHAPES = [
    ViTConfig(
        norm=norm, pos_embed=pos, act=act, depth=depth, num_heads=heads, embed_dim=16, patch_size=8, in_chans=chans,
        stem=stem,
    )
    for norm, pos, act, depth, heads, chans, stem in product(
        ("pre", "post"), ("learned", "sine"), ("relu", "gelu"), (1, 3), (1, 4), (1, 3), ("patch", "conv")
    )
]  # fmt: skip


def test_looking_at_attention_changes_neither_logits_nor_gradients():
    for config in SHAPES:
        torch.manual_seed(0)
        model = MiniViT(config)
        model.mean.uniform_(0.3, 0.6)
        model.std.uniform_(0.2, 0.4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)  # CLS and biases away from 0
        model.double()  # so that only a difference in the formulas shows
        images = torch.rand(3, config.in_chans, 32, 32, dtype=torch.float64)
        plain = model(images)
        plain_gradients = torch.autograd.grad(plain.square().sum(), list(model.parameters()))
        looked, attn = model(images, return_attn=True)
        gradients = torch.autograd.grad(looked.square().sum(), list(model.parameters()))
        torch.testing.assert_close(plain, looked, atol=1e-10, rtol=1e-8)
        for ours, theirs in zip(plain_gradients, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)
        assert len(attn) == config.depth
        for layer in attn:
            assert layer.shape == (3, config.num_heads, 17, 17)
            torch.testing.assert_close(layer.sum(-1), torch.ones(3, config.num_heads, 17, dtype=torch.float64))


def test_one_post_norm_block_is_computed_from_its_patches_alone_unless_dropout_changes_its_tokens():
    assert [config for config in SHAPES if MiniViT(config).absorbs] == [
        config for config in SHAPES if (config.depth, config.norm, config.stem) == (1, "post", "patch")
    ]
    dropping = MiniViT(ViTConfig(embed_dim=16, drop_rate=0.5))
    assert not dropping.absorbs and dropping.eval().absorbs


def test_a_convolutional_stem_gives_one_token_a_patch_that_sees_a_little_around_it():
    for patch_size in (2, 4, 8):
        config = ViTConfig(stem="conv", patch_size=patch_size, embed_dim=16)
        images = torch.rand(1, 3, 32, 32, requires_grad=True)
        embed = MiniViT(config).patch_embed
        tokens = embed(images)
        assert tokens.shape == (1, config.num_patches, 16)
        (gradient,) = torch.autograd.grad(embed.stem[0](images)[0, :, 3, 3].square().sum(), images)
        assert gradient[0].abs().sum(0).nonzero().tolist() == [[row, col] for row in (5, 6, 7) for col in (5, 6, 7)]


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_a_pre_norm_model_with_learned_positions_is_timms_vision_transformer(act):
    config = ViTConfig(
        norm="pre", pos_embed="learned", act=act, depth=3, num_heads=4, embed_dim=32, mlp_ratio=2, num_classes=5
    )
    torch.manual_seed(0)
    model = MiniViT(config).eval()
    theirs = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=32, depth=3, num_heads=4, mlp_ratio=2, num_classes=5,
        act_layer=torch.nn.GELU if act == "gelu" else torch.nn.ReLU, mlp_layer=Mlp,
    ).eval()  # fmt: skip
    weights = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    theirs.load_state_dict(weights, strict=True)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_normalisation_is_inside_the_model():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16))
    images = torch.rand(2, 3, 32, 32)
    expected = model((images - 0.4) / 0.2)
    model.mean.fill_(0.4)
    model.std.fill_(0.2)
    torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_and_not_in_evaluation():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16, drop_rate=0.5))
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_token_order_is_cls_and_then_the_patches_row_by_row():
    model = MiniViT(ViTConfig(embed_dim=16, pos_embed="learned"))
    with torch.no_grad():
        model.pos_embed.zero_()
    images = torch.zeros(1, 3, 32, 32)
    images[0, :, 4:8, 12:16] = 1.0  # second row, fourth column
    tokens = model.embed(images)[0]
    different = (tokens[1:] - tokens[1]).abs().sum(-1) > 1e-6
    assert different.nonzero().flatten().tolist() == [8 + 3]
    assert torch.equal(tokens[0], model.cls_token[0, 0])


def test_dropped_patches_and_silenced_heads_give_the_same_logits_on_both_paths():
    for config in SHAPES:
        torch.manual_seed(0)
        model = MiniViT(config)
        images = torch.rand(2, config.in_chans, 32, 32)
        keep = torch.tensor([[0, 3, 9], [15, 2, 1]])
        silenced = torch.zeros(config.depth, config.num_heads, dtype=torch.bool)
        silenced[-1, -1] = True
        plain = model(images, keep=keep, silenced=silenced)
        looked, attn = model(images, return_attn=True, keep=keep, silenced=silenced)
        torch.testing.assert_close(plain, looked, atol=1e-5, rtol=1e-5)
        assert [layer.shape for layer in attn] == [(2, config.num_heads, 4, 4)] * config.depth
        for other in ({"keep": keep}, {}):
            assert not torch.allclose(model(images, **other), plain, atol=1e-6)


def test_a_dropped_patch_cannot_be_seen_and_the_others_keep_their_positions():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16, patch_size=8, depth=2, pos_embed="learned"))
    with torch.no_grad():
        model.pos_embed.normal_()
    images = torch.rand(1, 3, 32, 32)
    keep = torch.tensor([[patch for patch in range(16) if patch != 6]])
    painted = images.clone()
    painted[:, :, 8:16, 16:24] = 1  # patch 6 is in the second row, third column
    expected = model(images, keep=keep)
    torch.testing.assert_close(model(painted, keep=keep), expected)
    torch.testing.assert_close(model(images, keep=keep.flip(1)), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(model(images, keep=torch.arange(15)[None]), expected, atol=1e-4)
    everything = torch.arange(16)[None]
    torch.testing.assert_close(model(images, keep=everything), model(images))
    assert model(images, return_attn=True, keep=everything[:, :0])[1][1].tolist() == [[[[1.0]]]]  # CLS alone


def test_a_silenced_head_is_one_whose_columns_of_the_output_projection_are_zero():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16, patch_size=8, depth=2, num_heads=4))
    images = torch.rand(2, 3, 32, 32)
    silenced = torch.zeros(2, 4, dtype=torch.bool)
    silenced[0, 2] = True
    found = model(images, silenced=silenced)
    with torch.no_grad():
        model.blocks[0].attn.proj.weight[:, 8:12] = 0
    torch.testing.assert_close(found, model(images), atol=1e-6, rtol=1e-5)
