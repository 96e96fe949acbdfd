"""Attention received, norms of tokens and values: by hand, and against the yardstick's forward pass."""

import numpy as np
import pytest
import torch
from small_models import KINDS, random_images, random_model, settings_of, weights_of
from yardstick import vit_forward

from minivit.attention.tokens import TokenStatistics, relative_to_median, sinks, token_statistics

REGISTERS = [kind | {"num_registers": 2} for kind in KINDS]


@pytest.mark.parametrize("settings", [*REGISTERS, {"stem": "conv", "num_classes": 0}], ids=str)
def test_with_uniform_attention_every_token_receives_1(settings):
    model = random_model(**settings)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight[:32], block.attn.qkv.bias[:32] = 0, 0  # queries and keys
    statistics = token_statistics(model, random_images(1))
    torch.testing.assert_close(statistics.received, torch.ones(3, 4, model.config.num_tokens))
    for head in (0, "mean", "max"):
        torch.testing.assert_close(sinks(statistics, head, 16).attention, torch.ones(3, model.config.num_tokens))


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_attention_received_and_the_norms_of_values_are_those_of_the_yardstick(settings):
    model, image = random_model(**settings).double(), random_images(1).double()
    w = weights_of(model)
    out, statistics = vit_forward(w, image[0].numpy(), **settings_of(model)), token_statistics(model, image)
    for layer in range(3):
        x = out.inputs[layer]
        for head in range(4):
            rows = slice(32 + 4 * head, 36 + 4 * head)
            for token in (0, 7):
                received = sum(out.attn[layer][head][query][token] for query in range(17))
                assert statistics.received[layer, head, token].item() == pytest.approx(received, abs=1e-9)
                name = f"blocks.{layer}.attn.qkv"
                value = w[f"{name}.weight"][rows] @ x[token] + w[f"{name}.bias"][rows]
                norm = np.sqrt((value**2).sum())
                assert statistics.value_norms[layer, head, token].item() == pytest.approx(norm, abs=1e-9)


@pytest.mark.parametrize("settings", REGISTERS, ids=str)
def test_features_are_the_tokens_between_the_layers_registers_included(settings):
    model, image = random_model(**settings), random_images(1)
    statistics = token_statistics(model, image)
    x = model.embed(image)
    for layer, block in enumerate(model.blocks):
        torch.testing.assert_close(statistics.features[layer], x[0])
        received = block(x)[1]["attn"].sum(2)[0]
        torch.testing.assert_close(statistics.received[layer], received)
        assert received.mean(-1).tolist() == pytest.approx([1] * 4)
        x, _ = block(x)
    torch.testing.assert_close(statistics.features[3], x[0])


def test_ratios_refer_to_the_median_patch_and_not_to_cls_or_registers():
    values = torch.tensor([100.0, 50, 1, 2, 4, 6])  # CLS, a register, four patches: the median is 3
    torch.testing.assert_close(relative_to_median(values, 4), values / 3)


def statistics_of(received: list[float], values: list[float]) -> TokenStatistics:
    """CLS and patches in one layer of two heads, which receive half and one and a half times `received`."""
    N = len(received)
    features = torch.ones(2, N, 4)
    features[:, 0], features[:, -1] = 0.5, 4
    by_head = torch.tensor([0.5, 1.5])[None, :, None]
    return TokenStatistics(torch.tensor(received) * by_head, torch.tensor(values).expand(1, 2, N), features)


def test_a_sink_receives_much_attention_and_has_a_small_value():
    result = sinks(statistics_of([9, 1, 1, 1, 14.0], [1, 1, 1, 1, 0.1]), "mean", 4)
    assert result.attention[0].tolist() == pytest.approx([9, 1, 1, 1, 14])
    assert result.value_norms[0].tolist() == pytest.approx([1, 1, 1, 1, 0.1])
    assert result.token_norms[1].tolist() == pytest.approx([0.5, 1, 1, 1, 4])
    assert result.is_sink[0].tolist() == [False, False, False, False, True]
    assert result.strongest() == (0, 3)


def test_a_token_whose_value_is_passed_on_or_that_receives_little_is_not_a_sink():
    passed_on = sinks(statistics_of([1, 1, 1, 1, 14.0], [1, 1, 1, 1, 1.0]), "mean", 4)
    assert not passed_on.is_sink.any() and passed_on.strongest() == (0, 3)
    ignored = sinks(statistics_of([1, 1, 1, 1, 1.0], [1, 1, 1, 1, 0.1]), "mean", 4)
    assert not ignored.is_sink.any()
    cls = sinks(statistics_of([20, 1, 1, 2, 1.0], [0.1, 1, 1, 1, 1]), "mean", 4)
    assert cls.is_sink[0].tolist() == [True, False, False, False, False]
    assert cls.strongest() == (0, 2)  # of the patches


def test_a_sink_is_preferred_to_a_patch_that_receives_more_and_passes_it_on():
    result = sinks(statistics_of([1, 1, 1, 1, 6, 14.0], [1, 1, 1, 1, 0.1, 1]), "mean", 5)
    assert result.strongest() == (0, 3) and result.top_patch(0) == 4


def test_one_head_has_its_own_attention_and_the_maximum_is_over_heads():
    statistics = statistics_of([1, 1, 1, 1, 14.0], [1, 1, 1, 1, 1.0])
    assert sinks(statistics, 0, 4).received[0, 4].item() == 7
    assert sinks(statistics, "max", 4).received[0, 4].item() == 21
