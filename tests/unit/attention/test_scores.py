"""One row of softmax: its query, keys and values give the attention that the model itself computes."""

import math
from typing import Any

import pytest
import torch
from small_models import KINDS, random_images, random_model

from minivit.attention import attend
from minivit.attention.image_attention import SoftmaxRow, softmax_row
from minivit.errors import ConfigError
from minivit.inference import eval_mode

SETTINGS: list[dict[str, Any]] = [
    *KINDS,
    {"norm": "pre", "num_registers": 2},
    {"norm": "pre", "qk_norm": True},
    {"pos_embed": "rotary"},
]


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=["pre", "post", "registers", "query and key normalised", "rotary positions"]
)
@pytest.mark.parametrize(("layer", "head", "token"), [(0, 0, 0), (2, 3, 0), (1, 2, 7)])
def test_the_weights_are_the_model_s_attention(settings: dict[str, Any], layer: int, head: int, token: int) -> None:
    model, image = random_model(**settings), random_images(1)
    row = softmax_row(model, image, layer, head, token)
    _, attn = attend(model, image)
    assert torch.allclose(row.weights, attn[0, layer, head, token], atol=1e-6)
    assert row.weights.sum().item() == pytest.approx(1)
    with eval_mode(model):
        _, out = model.forward_tokens(model.embed(image), ("context", "tokens"))
    assert torch.allclose(row.context, out["context"][layer][0, head, token], atol=1e-6)
    assert torch.allclose(row.tokens, out["tokens"][0][0])


def test_a_row_can_be_calculated_by_hand() -> None:
    row = SoftmaxRow(
        query=torch.tensor([1.0, 2.0, 0.0, -1.0]),
        keys=torch.tensor([[2.0, 0.0, 5.0, 0.0], [0.0, 1.0, 5.0, 2.0]]),
        values=torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]),
        scale=1 / math.sqrt(4),
        tokens=torch.zeros(2, 8),
    )
    assert row.products.tolist() == [[2, 0, 0, 0], [0, 2, 0, -2]]
    assert row.scores.tolist() == [1, 0]
    assert row.weights.tolist() == pytest.approx([math.e / (math.e + 1), 1 / (math.e + 1)])
    assert row.context.tolist() == pytest.approx([math.e / (math.e + 1), 1 / (math.e + 1), 0, 0])


@pytest.mark.parametrize(
    ("layer", "head", "token", "words"),
    [(3, 0, 0, "no layer 4"), (0, 4, 0, "no head 5"), (-1, 0, 0, "no layer 0"), (0, 0, 17, "no token 17")],
)
def test_a_layer_head_or_token_that_the_model_lacks_is_reported(layer: int, head: int, token: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        softmax_row(random_model(), random_images(1), layer, head, token)
