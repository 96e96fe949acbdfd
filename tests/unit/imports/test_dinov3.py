"""DINOv3, with its rotary positions, from Hugging Face, timm and its own repository."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from other_libraries import EAGER, randomized, same_features_and_attention
from safetensors.torch import save_file
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from minivit.attention.logit_parts import logit_shares
from minivit.attention.methods import available_methods
from minivit.data import load_split
from minivit.errors import RunError
from minivit.imports import ImportOptions, import_model

NONE = ImportOptions(normalization="none")


def timm_model(name: str = "vit_small_patch16_dinov3_qkvb", **changes: Any) -> torch.nn.Module:
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 4, "patch_size": 8, "img_size": 32}
    return sharp(randomized(timm.create_model(name, **sizes | changes)))


def sharp(model: torch.nn.Module) -> torch.nn.Module:
    """The model with tokens so large that its attention is far from uniform."""
    for name, parameter in model.named_parameters():
        if name.endswith("norm1.weight"):
            parameter.data += 2
    return model


def save(folder: Path, weights: dict[str, torch.Tensor], **config: Any) -> Path:
    """A directory as timm writes it."""
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"num_register_tokens": 4},
        {"image_size": 48, "patch_size": 16, "rope_theta": 30.0},
        {"image_size": 48, "num_attention_heads": 2, "num_register_tokens": 1, "key_bias": True},
        {"query_bias": False, "proj_bias": False, "mlp_bias": False},
    ],
    ids=["registers", "larger image", "other heads", "fewer biases"],
)
def test_hugging_faces_dinov3_gives_its_own_features_and_attention(image_folder, tmp_path, changes):
    model = sharp(randomized(DINOv3ViTModel(DINOv3ViTConfig(**EAGER | changes))))
    model.save_pretrained(tmp_path / "model")
    run = import_model(tmp_path / "model", image_folder, NONE)
    _, attn = same_features_and_attention(model, run)
    assert attn.std() > 0.01 and len(run.environment["assumed"]) == 1  # resizing


@pytest.mark.parametrize("global_pool", ["token", "avg"])
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_patch16_dinov3_qkvb"])
def test_timms_dinov3_gives_its_own_logits(image_folder, tmp_path, name, global_pool):
    model = timm_model(name, num_classes=5, global_pool=global_pool)
    config = {"architecture": name, "global_pool": global_pool, "pretrained_cfg": {"input_size": [3, 32, 32]}}
    run = import_model(
        save(tmp_path / "model", model.state_dict(), **config), image_folder, ImportOptions(4, "none", img_size=32)
    )
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)


def test_weights_under_the_names_of_its_own_repository_need_the_image_size(image_folder, tmp_path):
    model = timm_model(global_pool="token", num_classes=0)
    renames = {"gamma_": "ls", "reg_token": "storage_tokens"}
    weights = {"rope_embed.periods": torch.ones(4), "mask_token": torch.zeros(1, 64)}
    for name, value in model.state_dict().items():
        for theirs, ours in renames.items():
            name = name.replace(theirs, ours)
        weights[f"{name}.gamma" if ".ls" in name else name] = value
    for block in ("blocks.0.attn.", "blocks.1.attn."):
        bias = [weights.pop(f"{block}q_bias"), torch.ones(64), weights.pop(f"{block}v_bias")]
        weights |= {f"{block}qkv.bias": torch.cat(bias), f"{block}qkv.bias_mask": torch.ones(192)}
        weights[f"{block}qkv.bias_mask"][64:128] = 0
    torch.save(weights, tmp_path / "dinov3.pth")
    assumed = import_model(tmp_path / "dinov3.pth", image_folder).environment["assumed"]
    assert "DINOv3's rotary positions, for images of 224 px (--img-size)" in assumed[0] and "'imagenet'" in assumed[-2]
    run = import_model(tmp_path / "dinov3.pth", image_folder, ImportOptions(4, "none", act="gelu", img_size=32))
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)
    assert len(run.environment["assumed"]) == 1  # resizing


def test_every_method_explains_it_and_the_shares_add_up(image_folder, tmp_path):
    model = timm_model(num_classes=5, global_pool="token")
    config = {"architecture": "vit_small_patch16_dinov3_qkvb", "global_pool": "token"}
    run = import_model(
        save(tmp_path / "model", model.state_dict(), **config), image_folder, ImportOptions(4, "none", img_size=32)
    )
    ours, images, classes = run.load_model(), load_split(run.config)[1].images[:2], torch.tensor([0, 3])
    methods = available_methods(run.config.model)
    assert len(methods) == 9
    for method in methods.values():
        assert method.attribute(ours, images, classes).isfinite().all()
    shares = logit_shares(ours.double(), images.double() / 255, classes)
    torch.testing.assert_close(shares.logit, ours(images.double() / 255)[range(2), classes], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DINOv3ViTModel(DINOv3ViTConfig(**EAGER, use_gated_mlp=True)), "SwiGLU"),
        (lambda: timm_model("vit_small_plus_patch16_dinov3"), "SwiGLU"),
        (lambda: timm_model("vit_small_patch16_rope_224"), "rotary positions of another kind"),
        (lambda: timm_model("vit_small_patch16_rope_ape_224"), "rotary positions of another kind"),
    ],
    ids=["gated MLP", "timm's gated MLP", "RoPE-ViT", "RoPE-ViT with learned positions"],
)
def test_what_minivit_lacks_of_its_relatives_is_named(image_folder, tmp_path, make, words):
    model = make()
    if isinstance(model, DINOv3ViTModel):
        model.save_pretrained(tmp_path / "model")
    else:
        save(tmp_path / "model", model.state_dict(), architecture=model.default_cfg["architecture"])
    with pytest.raises(RunError, match=words):
        import_model(tmp_path / "model", image_folder)
    assert not list((tmp_path / "runs").glob("*"))
