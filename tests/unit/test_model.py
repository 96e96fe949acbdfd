import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer
from yardstick import article

from minivit.config import ViTConfig, preset
from minivit.inference import num_parameters
from minivit.model import MiniViT


def article_weights(model: MiniViT) -> dict[str, torch.Tensor]:
    """The model's weights under the reference implementation's names."""
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
    their_logits, their_attn = article.forward(article_weights(model), images)
    torch.testing.assert_close(logits, their_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attn[:, 0], their_attn, atol=1e-5, rtol=0)
    assert attn[:, 0].std() > 1e-3  # the agreement is not between uniform maps


def test_the_article_preset_has_28676_parameters():
    assert num_parameters(preset("article").model) == 28_676


def test_counting_parameters_agrees_with_the_built_model():
    config = preset("strong").model
    assert num_parameters(config) == sum(parameter.numel() for parameter in MiniViT(config).parameters())


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
        img_size=32,
        patch_size=4,
        embed_dim=32,
        depth=3,
        num_heads=4,
        mlp_ratio=2,
        num_classes=5,
        act_layer=torch.nn.GELU if act == "gelu" else torch.nn.ReLU,
        mlp_layer=Mlp,
    ).eval()
    weights = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    theirs.load_state_dict(weights, strict=True)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_normalization_is_inside_the_model():
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


@pytest.mark.parametrize("pos_embed", ["learned", "rotary"])
def test_a_dropped_patch_does_not_affect_the_logits_and_the_others_keep_their_positions(pos_embed):
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16, patch_size=8, depth=2, pos_embed=pos_embed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    images = torch.rand(1, 3, 32, 32)
    keep = torch.tensor([[patch for patch in range(16) if patch != 6]])
    painted = images.clone()
    painted[:, :, 8:16, 16:24] = 1  # patch 6 is in the second row, third column
    expected = model(images, keep_idx=keep)
    torch.testing.assert_close(model(painted, keep_idx=keep), expected)
    torch.testing.assert_close(model(images, keep_idx=keep.flip(1)), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(model(images, keep_idx=torch.arange(15)[None]), expected, atol=1e-4)
    all_patches = torch.arange(16)[None]
    torch.testing.assert_close(model(images, keep_idx=all_patches), model(images))
    assert model(images, return_attn=True, keep_idx=all_patches[:, :0])[1][1].tolist() == [[[[1.0]]]]  # CLS alone


def test_an_ablated_head_is_one_whose_columns_of_the_output_projection_are_zero():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(embed_dim=16, patch_size=8, depth=2, num_heads=4))
    images = torch.rand(2, 3, 32, 32)
    head_mask = torch.ones(2, 4, dtype=torch.bool)
    head_mask[0, 2] = False
    ablated = model(images, head_mask=head_mask)
    with torch.no_grad():
        model.blocks[0].attn.proj.weight[:, 8:12] = 0
    torch.testing.assert_close(ablated, model(images), atol=1e-6, rtol=1e-5)


def test_intermediates_are_named_and_lead_from_one_block_to_the_next():
    for norm in ("pre", "post"):
        torch.manual_seed(0)
        model = MiniViT(ViTConfig(norm=norm, embed_dim=16, patch_size=8, depth=2, num_heads=4))
        head_mask = torch.tensor([[True, True, False, True], [True] * 4])
        tokens = model.embed(torch.rand(3, 3, 32, 32))
        logits, out = model.forward_tokens(tokens, ("tokens", "attn_input", "attn", "context"), head_mask)
        assert torch.equal(out["tokens"][0], tokens)
        assert [value.shape for value in out["context"]] == [(3, 4, 17, 4)] * 2
        assert not out["context"][0][:, 2].any() and out["context"][0][:, 1].all()
        for layer, block in enumerate(model.blocks):
            tokens, attn_input, attn, context = (values[layer] for values in out.values())
            assert torch.equal(attn_input, tokens if norm == "post" else block.norm1(tokens))
            v = block.attn.qkv(attn_input)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
            torch.testing.assert_close(context, attn @ v * head_mask[layer][:, None, None])
            x = block.after_attention(tokens, block.attn.proj(context.transpose(1, 2).flatten(2)))
            torch.testing.assert_close(x, out["tokens"][1] if layer == 0 else x)
        torch.testing.assert_close(logits, model.head(model.norm(x[:, 0])))
