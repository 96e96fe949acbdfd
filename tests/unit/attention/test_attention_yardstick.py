"""The attention yardstick itself, against scipy, timm, PyTorch, captum and numbers a person can check by hand."""

import math

import numpy as np
import pytest
import torch
import yardstick
from scipy import spatial, stats
from timm.models.vision_transformer import VisionTransformer
from torch import nn

DEPTH, HEADS, WIDTH, PATCH = 3, 4, 16, 4


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def image():
    return torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def vit():
    """timm's pre-norm ViT in float64, every parameter random; `seen` gathers what its attention reads and gives."""
    model = VisionTransformer(12, PATCH, num_classes=5, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS).double().eval()
    generator = torch.Generator().manual_seed(2)
    model.seen = {"inputs": [], "attn": []}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.register_forward_pre_hook(lambda _, args: model.seen["inputs"].append(args[0][0].detach().numpy()))
        block.attn.attn_drop.register_forward_hook(
            lambda _, args, out: model.seen["attn"].append(out[0].detach().numpy())
        )
    return model


def weights_of(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def run(model, image, **options):
    return yardstick.vit_forward(weights_of(model), image.numpy(), depth=DEPTH, num_heads=HEADS, **options)


def timm_logits(model, image, keep=None):
    x = model._pos_embed(model.patch_embed(image[None]))
    x = x if keep is None else x[:, [0] + [1 + patch for patch in keep]]
    return model.head(model.norm(model.blocks(x))[:, 0])[0].detach().numpy()


def test_the_pre_norm_forward_gives_timms_logits_attention_and_inputs(vit, image):
    seen = run(vit, image)
    assert seen.logits == pytest.approx(vit(image[None])[0].detach().numpy(), abs=1e-12)
    for layer in range(DEPTH):
        assert seen.attn[layer] == pytest.approx(vit.seen["attn"][layer], abs=1e-12)
        assert seen.inputs[layer] == pytest.approx(vit.seen["inputs"][layer], abs=1e-12)
        powers = np.exp(seen.scores[layer])
        assert powers / powers.sum(-1, keepdims=True) == pytest.approx(vit.seen["attn"][layer], abs=1e-12)


@pytest.mark.parametrize("keep", [[], [4], [0, 3, 8], [7, 2]])
def test_dropped_patches_leave_the_sequence_and_the_others_keep_their_positions(vit, image, keep):
    seen = run(vit, image, keep=keep)
    assert seen.logits == pytest.approx(timm_logits(vit, image, keep), abs=1e-12)
    assert seen.attn[0].shape == (HEADS, 1 + len(keep), 1 + len(keep))


def test_an_ablated_head_is_one_whose_columns_of_the_projection_are_zero(vit, image):
    silent = run(vit, image, silenced={(0, 3), (2, 1)}).logits
    assert np.abs(silent - run(vit, image).logits).max() > 1e-3
    d = WIDTH // HEADS
    with torch.no_grad():
        vit.blocks[0].attn.proj.weight[:, 3 * d :] = 0
        vit.blocks[2].attn.proj.weight[:, d : 2 * d] = 0
    assert silent == pytest.approx(timm_logits(vit, image), abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_post_norm_forward_gives_the_logits_of_pytorchs_encoder_layers(vit, image, activation):
    layers = [
        nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0, activation=activation, batch_first=True, dtype=torch.float64
        )
        for _ in range(DEPTH)
    ]
    x = vit._pos_embed(vit.patch_embed(image[None]))
    for layer, block in zip(layers, vit.blocks, strict=True):
        layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = block.attn.qkv.weight, block.attn.qkv.bias
        layer.self_attn.out_proj, layer.linear1, layer.linear2 = block.attn.proj, block.mlp.fc1, block.mlp.fc2
        for name in ("norm1", "norm2"):
            getattr(layer, name).load_state_dict(getattr(block, name).state_dict())
        x = layer(x)
    logits = vit.head(x[0, 0]).detach().numpy()
    assert run(vit, image, norm="post", activation=activation).logits == pytest.approx(logits, abs=1e-12)


def test_positions_can_be_the_fixed_table_or_none(vit, image):
    fixed, none = run(vit, image, positions="sincos").logits, run(vit, image, positions="none").logits
    with torch.no_grad():
        vit.pos_embed.zero_()
        assert none == pytest.approx(timm_logits(vit, image), abs=1e-12)
        for i in range(10):
            for k in range(WIDTH // 2):
                angle = i / 10000 ** (2 * k / WIDTH)
                vit.pos_embed[0, i, 2 * k : 2 * k + 2] = torch.tensor(
                    (math.sin(angle), math.cos(angle)), dtype=torch.float64
                )
    assert fixed == pytest.approx(timm_logits(vit, image), abs=1e-12)


def test_the_value_weighted_norm_of_a_lone_token_is_the_length_of_that_heads_output_in_timm(vit, rng):
    attention, x = vit.blocks[1].attn, rng.normal(size=(1, WIDTH))
    qkv, proj, d = attention.qkv, attention.proj, WIDTH // HEADS
    arrays = [parameter.detach().numpy().copy() for parameter in (qkv.weight, qkv.bias, proj.weight)]
    norms = yardstick.value_weighted(x, *arrays, np.ones((HEADS, 1, 1)), HEADS)
    for head in range(HEADS):
        with torch.no_grad():
            proj.weight.zero_()
            proj.weight[:, head * d : (head + 1) * d] = torch.from_numpy(arrays[2][:, head * d : (head + 1) * d])
            out = attention(torch.from_numpy(x)[None])[0, 0] - proj.bias
        assert norms[head, 0, 0] == pytest.approx(out.norm().item())


def test_value_weighted_norms_grow_with_the_attention_of_query_i_to_key_j(vit, rng):
    qkv, proj = vit.blocks[0].attn.qkv, vit.blocks[0].attn.proj
    arrays = [parameter.detach().numpy() for parameter in (qkv.weight, qkv.bias, proj.weight)]
    x, attn = rng.normal(size=(3, WIDTH)), rng.uniform(size=(HEADS, 3, 3))
    norms = yardstick.value_weighted(x, *arrays, attn, HEADS)
    assert norms == pytest.approx(attn * yardstick.value_weighted(x, *arrays, np.ones_like(attn), HEADS))


def test_the_four_position_and_content_terms_add_up_to_the_models_scores(vit, image):
    weights = weights_of(vit)
    content = run(vit, image, norm="post", positions="none")
    scores = run(vit, image, norm="post").scores[0]
    (W_q, W_k, _), (b_q, b_k, _) = (np.split(weights[f"blocks.0.attn.qkv.{part}"], 3) for part in ("weight", "bias"))
    c, p = content.inputs[0], weights["pos_embed"][0].copy()
    cc, cp, pc, pp = yardstick.position_content(c, p, W_q, b_q, W_k, b_k, HEADS)
    assert cc + cp + pc + pp == pytest.approx(scores, abs=1e-12)
    assert cc == pytest.approx(content.scores[0], abs=1e-12)
    moved = yardstick.position_content(c + 1, p, W_q, b_q, W_k, b_k, HEADS)
    assert moved[3] == pytest.approx(pp) and np.abs(moved[1] - cp).max() > 0.1 and np.abs(moved[2] - pc).max() > 0.1
    p[:3], p[4:] = 0, 0  # only token 3 has a position: it is a key in column 3, a query in row 3
    _, cp, pc, _ = yardstick.position_content(c, p, W_q, b_q, W_k, b_k, HEADS)
    assert cp[:, :, 3].all() and not np.delete(cp, 3, 2).any() and pc[:, 3].all() and not np.delete(pc, 3, 1).any()


def test_a_two_layer_rollout_of_three_tokens_matches_the_one_worked_by_hand():
    first = [[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]] * 2
    second = [[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    # Â_1 = [[3/4, 1/4, 0], [0, 1, 0], [1/4, 0, 3/4]]; row 0 of Â_2 = [1/2, 1/4, 1/4]
    # their product's row 0: [3/8 + 1/16, 1/8 + 1/4, 3/16]; multiplied on the right patch 0 would get 7/16
    assert yardstick.rollout([first, second]) == pytest.approx([3 / 8, 3 / 16])


def test_a_two_layer_relevance_of_two_tokens_matches_the_one_worked_by_hand():
    half = [[0.5, 0.5], [0.5, 0.5]]
    first = [[[2.0, 4.0], [-2.0, 0.0]], [[0.0, -8.0], [2.0, 0.0]]]  # clamped, mean: [[1/2, 1], [1/2, 0]]
    second = [[[0.0, 2.0], [0.0, 0.0]], [[4.0, 2.0], [0.0, -2.0]]]  # clamped, mean: [[1, 1], [0, 0]]
    # R_1 = [[3/2, 1], [1/2, 1]]; R_2[0] = R_1[0] + R_1[0] + R_1[1] = [7/2, 3]
    assert yardstick.relevance([[half, half], [half, half]], [first, second]) == pytest.approx([3])


def test_entropy_is_scipys_over_ln_n_and_runs_from_one_patch_to_uniform(rng):
    weights = np.append(rng.uniform(size=9), 0)
    assert yardstick.entropy(weights) == pytest.approx(stats.entropy(weights) / math.log(10))
    assert yardstick.entropy(np.full(64, 0.01)) == pytest.approx(1)
    assert yardstick.entropy([0, 3, 0]) == 0


def test_jensen_shannon_is_the_square_of_scipys_distance_in_bits(rng):
    p, q = np.append(rng.uniform(size=9), 0), rng.uniform(size=10)
    assert yardstick.jensen_shannon(p, q) == pytest.approx(spatial.distance.jensenshannon(p, q, base=2) ** 2)
    assert yardstick.jensen_shannon([1, 0], [0, 2]) == pytest.approx(1)
    assert yardstick.jensen_shannon([1, 3], [2, 6]) == 0


@pytest.mark.parametrize(("grid", "patch_size", "pixels"), [(8, 4, 16.5459), (4, 8, 16.0641), (16, 2, 16.6522)])
def test_the_distance_of_uniform_attention_is_that_of_two_random_patches(grid, patch_size, pixels):
    uniform = np.full((2, grid * grid + 1, grid * grid + 1), 1 / (grid * grid + 1))
    assert yardstick.attention_distance(uniform, grid, patch_size) == pytest.approx([pixels] * 2, abs=5e-5)


def test_attention_distance_leaves_cls_out_and_keeps_heads_apart():
    itself, across = np.eye(5), np.zeros((5, 5))
    itself[:, 0] = 7
    across[[0, 1, 2, 3, 4], [0, 4, 3, 2, 1]] = 0.1
    distances = yardstick.attention_distance([itself, across], grid=2, patch_size=3)
    assert distances == pytest.approx([0, 3 * math.sqrt(2)])


def test_between_image_variation_is_one_minus_the_mean_correlation_of_all_pairs(rng):
    maps = rng.uniform(size=(5, 12))
    off_diagonal = np.corrcoef(maps)[np.triu_indices(5, 1)]
    assert yardstick.between_image_variation(maps) == pytest.approx(1 - off_diagonal.mean())
    assert yardstick.between_image_variation([maps[0], 2 * maps[0], maps[0] + 1]) == pytest.approx(0)


def test_spearman_is_scipys_also_with_ties(rng):
    for high in (1000, 4):
        a, b = rng.integers(high, size=(2, 30))
        assert yardstick.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(yardstick.spearman([1, 1, 1], [1, 2, 3]))


def test_occlusion_is_captums(vit, image):
    from captum.attr import Occlusion  # slow to import

    fill = image.mean((1, 2))
    drops = yardstick.occlusion(lambda x: vit(torch.from_numpy(x)[None])[0, 2].item(), image, PATCH, fill)
    blocks = Occlusion(vit).attribute(
        image[None],
        sliding_window_shapes=(3, PATCH, PATCH),
        strides=(3, PATCH, PATCH),
        baselines=fill[None, :, None, None].expand(1, 3, 12, 12),
        target=2,
    )
    assert drops == pytest.approx(blocks[0, 0, ::PATCH, ::PATCH].flatten().detach().numpy())
    assert np.abs(drops).min() > 0


def test_curves_take_patches_away_or_bring_them_in_the_given_order():
    worth, calls = [1, 10, 100], []

    def score(kept):
        calls.append(kept)
        return sum(worth[patch] for patch in kept)

    assert yardstick.deletion_curve(score, [2, 0, 1], 3).tolist() == [111, 11, 10, 0]
    assert calls == [[0, 1, 2], [0, 1], [1], []]
    assert yardstick.insertion_curve(score, [2, 0, 1], 3).tolist() == [0, 100, 101, 111]


def test_the_area_under_a_curve_is_the_trapezoid_rules(rng):
    assert yardstick.rise_area([0.9, 0.7, 0.4, 0.2, 0.1]) == pytest.approx(0.45)
    scores = rng.uniform(size=17)
    assert yardstick.rise_area(scores) == pytest.approx(np.trapezoid(scores, dx=1 / 16))


def test_mass_and_pointing_weigh_a_patch_by_its_pixels_inside_the_mask():
    mask = np.zeros((4, 6), dtype=bool)
    mask[0:2, 2:4] = True  # the whole of patch 1 of 2 × 3
    mask[2, 4] = True  # a quarter of patch 5
    weights = [1, 2, 0, 1, 0, 4]
    assert yardstick.mass_inside(weights, mask, 2) == pytest.approx((2 + 1) / 8)
    assert yardstick.pointing(weights, mask, 2) and not yardstick.pointing(weights, mask, 2, least_share=0.25)
    assert yardstick.pointing([1, 2, 0, 1, 0, 1], mask, 2, least_share=0.5)
    assert not yardstick.pointing([3, 2, 0, 1, 0, 1], mask, 2)
