"""Direct contributions and the logit lens, against the yardstick's forward pass taken apart by hand."""

import numpy as np
import pytest
import torch
from small_models import random_images, random_model, settings_of, weights_of
from yardstick import layer_norm, vit_forward

from minivit.attention import class_score
from minivit.attention.logit_parts import direct_contributions, logit_lens
from minivit.errors import ConfigError

PRE = {"norm": "pre", "pos_embed": "learned", "act": "gelu"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"depth": 1, "num_registers": 2}, {"qk_norm": True, "stem": "conv"}, {"pos_embed": "rotary"}],
    ids=str,
)
def test_contributions_are_together_the_logit(settings):
    model, images = random_model(**PRE | settings).double(), random_images(3).double()
    classes, contrast = torch.tensor([0, 3, 1]), torch.tensor([1, 2, 0])
    for against in (None, contrast):
        terms = direct_contributions(model, images, classes, against)
        assert terms.heads.shape == (3, model.config.depth, 4, model.config.num_tokens)
        torch.testing.assert_close(terms.logit, class_score(model(images), classes, against), atol=1e-9, rtol=0)


def test_a_heads_contribution_is_the_change_of_the_logit_without_it_while_the_last_deviation_is_held():
    model, images = random_model(**PRE, depth=1).double(), random_images(1).double()
    terms = direct_contributions(model, images, torch.tensor([2]))
    w, D = weights_of(model), 16
    out = vit_forward(w, images[0].numpy(), **settings_of(model))
    x = out.inputs[0]
    v = x @ w["blocks.0.attn.qkv.weight"][2 * D :].T + w["blocks.0.attn.qkv.bias"][2 * D :]
    cls = model.forward_tokens(model.embed(images), ["tokens"])[1]["tokens"][0][0, 0].detach().numpy()
    attn_output, _, _ = model.blocks[0].attn(model.blocks[0].norm1(model.embed(images)))
    last = model.blocks[0].after_attention(model.embed(images), attn_output)[0, 0].detach().numpy()
    sigma = np.sqrt(last.var() + 1e-6)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        for token in (0, 5, 16):
            written = out.attn[0][head, 0, token] * v[token, part] @ w["blocks.0.attn.proj.weight"][:, part].T
            term = w["head.weight"][2] @ (w["norm.weight"] * (written - written.mean()) / sigma)
            assert terms.heads[0, 0, head, token].item() == pytest.approx(term, abs=1e-9)
    embedded = w["head.weight"][2] @ (w["norm.weight"] * (cls - cls.mean()) / sigma)
    assert terms.cls[0].item() == pytest.approx(embedded, abs=1e-9)


def test_the_lens_is_the_head_on_every_token_after_every_layer():
    for settings in (PRE, {"norm": "post"}):
        model, images, classes = random_model(**settings).double(), random_images(2).double(), torch.tensor([1, 3])
        lens = logit_lens(model, images, classes)
        assert lens.shape == (2, 4, 17)
        torch.testing.assert_close(lens[:, -1, 0], class_score(model(images), classes))
        w = weights_of(model)
        tokens = model.forward_tokens(model.embed(images), ["tokens"])[1]["tokens"][1][1].detach().numpy()
        if settings["norm"] == "pre":
            tokens = layer_norm(tokens, w["norm.weight"], w["norm.bias"], 1e-6)
        expected = tokens @ w["head.weight"][3] + w["head.bias"][3]
        np.testing.assert_allclose(lens[1, 1].numpy(), expected, atol=1e-9)


def test_a_model_whose_logit_is_no_such_sum_is_refused_with_the_reason():
    images, classes = random_images(1), torch.tensor([0])
    with pytest.raises(ConfigError, match="need LayerNorm 'pre'"):
        direct_contributions(random_model(norm="post"), images, classes)
    for function in (direct_contributions, logit_lens):
        with pytest.raises(ConfigError, match="reads CLS alone"):
            function(random_model(norm="pre", pool="mean"), images, classes)
