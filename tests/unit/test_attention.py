import article_yardstick
import numpy as np
import pytest
import torch

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
        theirs = article_yardstick.rollout([layer[image].numpy() for layer in attn])
        np.testing.assert_allclose(ours[image], theirs, atol=1e-6)


def test_rollout_in_the_wrong_order_is_another_map():
    attn = random_attention(4)
    assert not torch.allclose(attention.rollout(attn), attention.rollout(attn[::-1]), atol=1e-4)


def test_rollout_of_uniform_attention_is_uniform():
    rolled = attention.rollout([uniform(4)] * 3)
    torch.testing.assert_close(rolled, rolled[:, :1].expand_as(rolled))


def test_rollout_of_one_layer_is_half_the_mean_cls_map():
    attn = random_attention(1)
    torch.testing.assert_close(attention.rollout(attn), attention.cls_map(attn[0]) / 2)


def relevance_by_loops(model: MiniViT, image: torch.Tensor, label: int) -> np.ndarray:
    """Equations 5 and 6 of 2103.15679 for one image, written out."""
    logits, attn = model(image[None], return_attn=True)
    gradients = torch.autograd.grad(logits[0, label], attn)
    N = attn[0].shape[-1]
    R = np.eye(N)
    for layer, gradient in zip(attn, gradients, strict=True):
        A_bar = np.zeros((N, N))
        for head in range(layer.shape[1]):
            A_bar += np.maximum(layer[0, head].detach().numpy() * gradient[0, head].numpy(), 0)
        R = R + (A_bar / layer.shape[1]) @ R
    return R[0, 1:]


def test_relevance_agrees_with_the_equations_written_out():
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(depth=3, num_heads=4, embed_dim=32, patch_size=8, num_classes=5, norm="pre")).eval()
    images, classes = torch.rand(3, 3, 32, 32), torch.tensor([4, 0, 2])
    ours = attention.relevance(model, images, classes)
    for index in range(3):
        np.testing.assert_allclose(ours[index], relevance_by_loops(model, images[index], classes[index]), atol=1e-6)


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
        np.testing.assert_allclose(ours[image], article_yardstick.distance(attn[image].numpy(), 8), rtol=1e-5)


def test_distance_of_a_head_that_looks_at_itself_is_zero():
    assert attention.distance(torch.eye(17).expand(1, 1, 17, 17), 8).item() == 0


def test_entropy_is_one_for_uniform_and_zero_for_one_patch():
    assert attention.entropy(torch.full((2, 64), 0.01)).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert attention.entropy(torch.eye(64)[:1]).item() == 0


def test_entropy_agrees_with_an_independent_implementation():
    maps = attention.cls_map(random_attention(1)[0])
    np.testing.assert_allclose(
        attention.entropy(maps), [article_yardstick.entropy(row.numpy()) for row in maps], rtol=1e-5
    )


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
