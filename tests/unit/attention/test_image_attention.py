"""The attention of one image, part by part, is that of the whole forward pass."""

import pytest
import torch

from minivit.attention.attribution import value_norms, value_weighted
from minivit.attention.image_attention import attention_inputs, head_matrix, token_rows
from minivit.attention.maps import attend, attend_masked, without_registers
from minivit.config import ViTConfig
from minivit.model import MiniViT

MASKED = torch.arange(16) % 3 == 0


@pytest.fixture(
    params=[
        {"norm": "pre"},
        {"norm": "post"},
        {"norm": "pre", "num_registers": 2, "qk_norm": True},
        {"norm": "pre", "num_registers": 2, "pos_embed": "rotary"},
    ]
)
def model(request) -> MiniViT:
    torch.manual_seed(0)
    model = MiniViT(ViTConfig(patch_size=8, embed_dim=48, depth=3, num_heads=4, num_classes=5, **request.param))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("masked", [None, MASKED], ids=["all patches", "some masked"])
def test_rows_and_matrices_equal_those_computed_for_all_layers(model, image, masked):
    probs, attn = attend(model, image) if masked is None else attend_masked(model, image, masked)
    attn = without_registers(attn, model.config)
    assert attn.shape[-2:] == (17, 17)
    inputs = attention_inputs(model, image, masked)
    torch.testing.assert_close(inputs.probs, probs[0])
    for token in (0, 6, 16):
        torch.testing.assert_close(token_rows(model, inputs, token), attn[0, :, :, token], atol=1e-5, rtol=0)
    for head, expected in ((2, attn[0, 1, 2]), ("mean", attn[0, 1].mean(0)), ("max", attn[0, 1].amax(0))):
        torch.testing.assert_close(head_matrix(model, inputs, 1, head), expected, atol=1e-5, rtol=0)


def test_a_masked_token_attends_to_nothing(model, image):
    assert not token_rows(model, attention_inputs(model, image, MASKED), 1).any()


def test_a_methods_factors_multiply_the_attention(model, image):
    expected = [without_registers(layer, model.config) for layer in value_weighted(model, image)]
    inputs = attention_inputs(model, image)
    rows = token_rows(model, inputs, 5, value_norms)
    torch.testing.assert_close(rows, torch.stack([layer[0, :, 5] for layer in expected]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(head_matrix(model, inputs, 2, 1, value_norms), expected[2][0, 1], atol=1e-4, rtol=1e-4)
