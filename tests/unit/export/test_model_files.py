"""timm and onnxruntime give the same logits as the model; a model that timm cannot represent is refused."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load
from timm.models.vision_transformer import VisionTransformer

from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.export import onnx_model, timm_arguments, timm_checkpoint
from minivit.model import MiniViT

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3}


def random_model(config: ViTConfig) -> MiniViT:
    """A model with no weight at 0 or 1, and with its own mean and standard deviation."""
    torch.manual_seed(3)
    model = MiniViT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.mean.copy_(torch.rand_like(model.mean))
        model.std.copy_(torch.rand_like(model.std) + 0.2)
    return model


@pytest.mark.parametrize("pos_embed", ["learned", "sine"])
@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize(("in_chans", "mlp_ratio"), [(3, 1.5), (1, 4.0)])
def test_timm_loads_the_checkpoint_strictly_and_gives_the_same_logits(pos_embed, act, in_chans, mlp_ratio, tmp_path):
    config = ViTConfig(
        **SMALL, in_chans=in_chans, norm="pre", pos_embed=pos_embed, act=act, mlp_ratio=mlp_ratio, num_classes=5
    )
    model = random_model(config)
    (tmp_path / "model.safetensors").write_bytes(timm_checkpoint(model, tuple("abcde")))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    theirs = VisionTransformer(**json.loads(metadata["arguments"])).eval()
    theirs.load_state_dict(weights, strict=True)
    images = torch.rand(7, in_chans, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), model(images), atol=1e-4, rtol=0)
        assert model(images).std() > 0.1
    assert json.loads(metadata["classes"]) == list("abcde")


def test_a_post_norm_model_is_refused_for_timm():
    with pytest.raises(ConfigError, match=r"LayerNorm: post.*ONNX"):
        timm_arguments(ViTConfig())
    with pytest.raises(ConfigError, match="LayerNorm: post"):
        timm_checkpoint(MiniViT(ViTConfig()))


@pytest.mark.parametrize("changes", [{"pool": "cls and mean"}, {"pos_embed": "rotary"}], ids=str)
def test_what_timm_lacks_is_refused_with_what_keeps_the_model(changes):
    with pytest.raises(ConfigError, match=r"Export this model as ONNX, or the run as a \.zip"):
        timm_arguments(ViTConfig(norm="pre", **changes))


def test_a_convolutional_stem_is_refused_for_timm():
    with pytest.raises(ConfigError, match=r"no convolutional stem.*ONNX"):
        timm_arguments(ViTConfig(**SMALL, norm="pre", stem="conv"))


def test_exporting_for_timm_leaves_the_weights_of_the_model_alone():
    model = random_model(ViTConfig(**SMALL, norm="pre"))
    original = {name: value.clone() for name, value in model.state_dict().items()}
    stored = load(timm_checkpoint(model))
    for name, value in model.state_dict().items():
        assert torch.equal(value, original[name])
    assert not torch.equal(stored["patch_embed.proj.weight"], original["patch_embed.proj.weight"])


def test_onnxruntime_gives_the_logits_and_attention_of_every_layer_for_any_batch_size():
    model = random_model(ViTConfig(**SMALL))
    content = onnx_model(model, ("cat", "<b>", "c", "d"))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "attn_1", "attn_2"]
    for B in (1, 2, 5):
        images = torch.rand(B, 3, 16, 16)
        logits, *attn = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            our_logits, our_attn = model(images, return_attn=True)
        np.testing.assert_allclose(logits, our_logits, atol=1e-4)
        for theirs, ours in zip(attn, our_attn, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
    props = {prop.key: prop.value for prop in onnx.load_from_string(content).metadata_props}
    assert json.loads(props["classes"]) == ["cat", "<b>", "c", "d"]
