import numpy as np
import pytest
import scipy.stats
import torch
import yardstick
from small_models import KINDS, random_images, random_model, settings_of, weights_of
from yardstick import article

from minivit import attention
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.model import MiniViT


def random_attention(num_layers: int, B: int = 2, H: int = 3, N: int = 17) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, H, N, N, generator=generator).mul(2).softmax(-1) for _ in range(num_layers)]


def uniform(grid: int) -> torch.Tensor:
    N = grid * grid + 1
    return torch.full((1, 2, N, N), 1 / N)


def test_cls_map_is_the_cls_row_without_cls():
    (attn,) = random_attention(1)
    assert torch.equal(attention.cls_map(attn, heads=2), attn[:, 2, 0, 1:])
    torch.testing.assert_close(attention.cls_map(attn), attn[:, :, 0, 1:].mean(1))
    assert torch.equal(attention.cls_map(attn, heads="max"), attn[:, :, 0, 1:].amax(1))


def test_a_head_that_is_not_there_is_refused():
    (attn,) = random_attention(1)
    for heads in (3, -1, "median"):
        with pytest.raises(ConfigError, match="0 to 2"):
            attention.cls_map(attn, heads=heads)


def test_rollout_agrees_with_an_independent_implementation():
    attn = random_attention(4)
    ours = attention.rollout(attn)
    for image in range(2):
        layers = [layer[image].numpy() for layer in attn]
        for theirs in (article.rollout(layers), yardstick.rollout(layers)):
            np.testing.assert_allclose(ours[image], theirs, atol=1e-6)
        multiplied_on_the_right = yardstick.rollout(layers[::-1])
        assert not np.allclose(ours[image], multiplied_on_the_right, atol=1e-4)


def test_rollout_of_uniform_attention_is_uniform():
    rolled = attention.rollout([uniform(4)] * 3)
    torch.testing.assert_close(rolled, rolled[:, :1].expand_as(rolled))


def test_rollout_of_one_layer_is_half_the_mean_cls_map():
    attn = random_attention(1)
    torch.testing.assert_close(attention.rollout(attn), attention.cls_map(attn[0]) / 2)


def relevance_of_one(model: MiniViT, image: torch.Tensor, label: int, *, reverse: bool = False) -> np.ndarray:
    """The yardstick's relevance, from gradients of that class's logit; reversed layer order is a known mistake."""
    logits, attn = model(image[None], return_attn=True)
    gradients = torch.autograd.grad(logits[0, label], attn)
    return yardstick.relevance(
        [layer[0].detach().numpy() for layer in attn],
        [gradient[0].numpy() for gradient in (gradients[::-1] if reverse else gradients)],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_relevance_agrees_with_the_equations_written_out_and_not_with_a_reversed_order(kind):
    model, images, classes = random_model(**kind), random_images(3), torch.tensor([3, 0, 2])
    ours = attention.relevance(model, images, classes)
    for image, label, relevance in zip(images, classes, ours, strict=True):
        np.testing.assert_allclose(relevance, relevance_of_one(model, image, label), atol=1e-5)
        assert not np.allclose(relevance, relevance_of_one(model, image, label, reverse=True), rtol=0, atol=1e-4)


def test_relevance_clamps_before_the_mean_over_heads():
    model, images = random_model(depth=1), random_images(1)
    logits, (attn,) = model(images, return_attn=True)
    (gradient,) = torch.autograd.grad(logits[0, 1], attn)
    relevance = attention.relevance(model, images, torch.tensor([1]))
    product = (attn * gradient)[:, :, 0, 1:].detach()
    torch.testing.assert_close(relevance, product.clamp(min=0).mean(1))
    assert not torch.allclose(relevance, product.mean(1).clamp(min=0), atol=1e-3)


def test_relevance_of_one_class_rather_than_another_is_that_of_the_difference_of_their_logits():
    model, images = random_model(), random_images(2)
    relevance = attention.relevance(model, images, torch.tensor([0, 1]), contrast=torch.tensor([2, 2]))
    with torch.no_grad():
        model.head.weight[:2] -= model.head.weight[2]
        model.head.bias[:2] -= model.head.bias[2]
    torch.testing.assert_close(relevance, attention.relevance(model, images, torch.tensor([0, 1])))


def test_relevance_works_on_frozen_weights_and_leaves_the_model_as_it_was():
    model = MiniViT(ViTConfig(depth=2, embed_dim=16)).train()
    model.requires_grad_(False)
    images = torch.rand(2, 3, 32, 32)
    assert attention.relevance(model, images, torch.tensor([0, 1])).shape == (2, 64)
    assert model.training and not images.requires_grad


@pytest.mark.parametrize(("grid", "patch", "golden"), [(8, 4, 16.5459), (4, 8, 16.0641), (16, 2, 16.6522)])
def test_uniform_attention_has_the_known_distance(grid, patch, golden):
    assert attention.distance(uniform(grid), patch)[0].tolist() == pytest.approx([golden, golden], abs=1e-4)
    assert attention.uniform_distance(grid, patch) == pytest.approx(golden, abs=1e-4)


def test_distance_agrees_with_an_independent_implementation():
    (attn,) = random_attention(1)
    ours = attention.distance(attn, patch_size=8)
    for image in range(2):
        np.testing.assert_allclose(ours[image], article.distance(attn[image].numpy(), 8), rtol=1e-5)


def test_the_distance_of_a_head_that_attends_to_itself_is_zero():
    assert attention.distance(torch.eye(17).expand(1, 1, 17, 17), 8).item() == 0


def test_entropy_is_one_for_uniform_and_zero_for_one_patch():
    assert attention.entropy(torch.full((2, 64), 0.01)).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert attention.entropy(torch.eye(64)[:1]).item() == 0


def test_entropy_agrees_with_an_independent_implementation():
    maps = attention.cls_map(random_attention(1)[0])
    np.testing.assert_allclose(attention.entropy(maps), [article.entropy(row.numpy()) for row in maps], rtol=1e-5)


def test_positions_are_alike_as_their_cosine_says():
    model = MiniViT(ViTConfig(embed_dim=16, patch_size=8, pos_embed="learned"))
    similarity = attention.position_similarity(model)
    a, b = model.pos_embed[0, 1 + 3], model.pos_embed[0, 1 + 7]
    assert similarity.shape == (16, 16)
    assert similarity[3, 7].item() == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=1e-6)


def test_heads_are_written_from_one_and_read_back():
    for head in ("mean", "max", 0, 7):
        assert attention.read_head(attention.write_head(head)) == head
    assert attention.write_head(0) == "1"
    for text in ("0", "-1", "x", "1.5", ""):
        with pytest.raises(ConfigError, match="from 1"):
            attention.read_head(text)


def test_attend_gives_probabilities_and_the_attention_of_every_layer_in_order():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(depth=3, num_heads=2, embed_dim=16, patch_size=8)).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    probs, attn = attention.attend(model, images)
    assert attn.shape == (2, 3, 2, 17, 17) and not attn.requires_grad
    torch.testing.assert_close(probs.sum(1), torch.ones(2))
    _, layers = model(images / 255, return_attn=True)
    for index, layer in enumerate(layers):
        torch.testing.assert_close(attn[:, index], layer)


@pytest.mark.parametrize("kind", KINDS)
def test_value_weighted_attention_agrees_with_an_independent_implementation(kind):
    model, images = random_model(**kind), random_images(2)
    ours, weights = attention.value_weighted(model, images), weights_of(model)
    for image, picture in enumerate(images):
        seen = yardstick.vit_forward(weights, picture.numpy(), **settings_of(model))
        for layer, read in enumerate(seen.inputs):
            names = (f"blocks.{layer}.attn.{part}" for part in ("qkv.weight", "qkv.bias", "proj.weight"))
            theirs = yardstick.value_weighted(read, *(weights[name] for name in names), seen.attn[layer], 4)
            np.testing.assert_allclose(ours[layer][image], theirs, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_position_and_content_agree_with_an_independent_implementation_and_add_up_to_the_scores(kind):
    model, images = random_model(**kind), random_images(2)
    ours, weights = attention.position_content(model, images).numpy(), weights_of(model)
    qkv, bias = weights["blocks.0.attn.qkv.weight"], weights["blocks.0.attn.qkv.bias"]
    position = weights["pos_embed"][0]
    for image, picture in enumerate(images):
        seen = yardstick.vit_forward(weights, picture.numpy(), **settings_of(model))
        np.testing.assert_allclose(ours[image].sum(1), seen.scores[0], atol=1e-5)
        halves = [np.vstack([weights["cls_token"][0], yardstick.embed(weights, picture.numpy())]), position]
        if model.config.norm == "pre":
            deviation = np.sqrt((halves[0] + position).var(1, keepdims=True) + 1e-6)
            gamma, beta = weights["blocks.0.norm1.weight"], weights["blocks.0.norm1.bias"]
            halves = [(half - half.mean(1, keepdims=True)) / deviation * gamma for half in halves]
            halves[0] = halves[0] + beta
        theirs = yardstick.position_content(*halves, qkv[:16], bias[:16], qkv[16:32], bias[16:32], 4)
        for term, expected in enumerate(theirs):
            np.testing.assert_allclose(ours[image, :, term], expected, atol=1e-5)


def test_without_positions_all_of_the_scores_is_content():
    model = random_model(pos_embed="learned")
    with torch.no_grad():
        model.pos_embed.zero_()
    shares = attention.term_shares(attention.position_content(model, random_images(2)))
    torch.testing.assert_close(shares, torch.tensor([1.0, 0, 0, 0]).expand(2, 4, 4))


def test_shares_of_the_terms_add_up_to_one_and_ignore_what_every_key_has():
    terms = torch.randn(2, 3, 4, 17, 17)
    shares = attention.term_shares(terms)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 3))
    lifted = terms + torch.randn(2, 3, 4, 17, 1)
    torch.testing.assert_close(attention.term_shares(lifted), shares, atol=1e-4, rtol=1e-4)
    term, whole = terms[0, 1, 2, 0].numpy(), terms[0, 1, :, 0].sum(0).numpy()
    expected = np.cov(term, whole)[0, 1] / whole.var(ddof=1)
    assert attention.term_shares(terms[..., :1, :])[0, 1, 2].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_effect_of_a_head_is_which_predictions_are_correct_without_it(kind):
    model, images = random_model(**kind), random_images(100)
    with torch.no_grad():
        model.head.bias -= model(images).mean(0)  # so that all classes are predicted
    labels = model(images).argmax(1)
    labels[:10] = (labels[:10] + 1) % 4
    ablation = attention.head_effects(model, images, labels)
    assert ablation.ablated.shape == (3, 4, 100)
    assert ablation.complete.tolist() == [False] * 10 + [True] * 90
    for layer, head in np.ndindex(3, 4):
        head_mask = torch.ones(3, 4, dtype=torch.bool)
        head_mask[layer, head] = False
        correct = model(images, head_mask=head_mask).argmax(1) == labels
        assert ablation.ablated[layer, head].tolist() == correct.tolist()
    assert ablation.ablated.mean(-1).min() < 0.8


def test_divergence_agrees_with_scipy_and_the_yardstick():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(5, 64, generator=generator), torch.rand(5, 64, generator=generator) ** 4
    a[:, :20] = 0
    divergence = attention.divergence(a, b)
    for image in range(5):
        p, q = a[image].double() / a[image].double().sum(), b[image].double() / b[image].double().sum()
        by_scipy = (scipy.stats.entropy(p, (p + q) / 2, base=2) + scipy.stats.entropy(q, (p + q) / 2, base=2)) / 2
        assert divergence[image].item() == pytest.approx(by_scipy, abs=1e-5)
        assert divergence[image].item() == pytest.approx(yardstick.jensen_shannon(a[image], b[image]), abs=1e-5)


def test_divergence_is_zero_for_the_same_map_and_one_bit_for_maps_apart():
    first, second = torch.eye(64)[:1], torch.eye(64)[1:2]
    assert attention.divergence(first, second).item() == 1
    assert attention.divergence(first, 3 * first).item() == 0


def test_between_image_variation_agrees_with_the_yardstick_and_is_zero_where_all_maps_are_alike():
    maps = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
    assert attention.between_image_variation(maps) == pytest.approx(yardstick.between_image_variation(maps), abs=1e-5)
    alike = maps[:1] * torch.tensor([[1.0], [2], [3]])
    assert attention.between_image_variation(alike) == pytest.approx(0, abs=1e-6)
    assert attention.image_specific_share(alike) == pytest.approx(0, abs=1e-6)


def test_noise_on_uniform_maps_is_image_dependent_by_correlation_but_moves_no_share():
    noise = torch.rand(50, 64, generator=torch.Generator().manual_seed(0))
    assert attention.between_image_variation(1 + 0.001 * noise) > 0.95
    assert attention.image_specific_share(1 + 0.001 * noise) < 0.001
    assert attention.image_specific_share(torch.eye(64)) == pytest.approx(63 / 64)  # each image looks at its own patch


def test_the_image_specific_part_is_what_the_average_image_lacks():
    maps = torch.tensor([[1.0, 3], [3, 5]])
    assert attention.image_specific(maps).tolist() == [[-1, -1], [1, 1]]


def test_attend_can_drop_patches():
    model, images = random_model(), random_images(2)
    probs, attn = attention.attend(model, images, keep_idx=torch.tensor([[0, 5], [7, 3]]))
    assert attn.shape == (2, 3, 4, 3, 3)
    picture = images[1].numpy()
    theirs = yardstick.vit_forward(weights_of(model), picture, keep=[7, 3], **settings_of(model))
    np.testing.assert_allclose(attn[1, 2], theirs.attn[2], atol=1e-5)
    np.testing.assert_allclose(probs[1], yardstick.softmax(theirs.logits), atol=1e-5)
