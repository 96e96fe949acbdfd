"""Models of Hugging Face and torchvision as runs: the logits and the attention of their own library."""

import argparse
import json
from pathlib import Path

import pytest
import torch
import torchvision
from other_libraries import EAGER, NAMES, SMALL, randomized, same_features_and_attention
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from minivit.attention import attend
from minivit.config import preset
from minivit.data import load_split
from minivit.errors import ConfigError, RunError
from minivit.export.model_files import timm_checkpoint
from minivit.imports import ImportOptions, import_model
from minivit.imports.state_dict import read_state_dict
from minivit.inference import predict_run
from minivit.model import MiniViT


@pytest.fixture(scope="module")
def hugging_face_vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A classifier and its directory, with class names, an activation and a normalization of its own."""
    config = ViTConfig(**SMALL, id2label=NAMES, hidden_act="relu", attn_implementation="eager")
    model, folder = randomized(ViTForImageClassification(config)), tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    stats = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(stats), encoding="utf-8")
    return model, folder


def check(run, model, images: torch.Tensor, mean: list[float], std: list[float]) -> None:
    """The run's logits and attention are those of a Hugging Face model."""
    pixels = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        out = model(pixels, output_attentions=True)
        logits = run.load_model()(images / 255)
    torch.testing.assert_close(logits, out.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(attend(run.load_model(), images)[1], torch.stack(out.attentions, 1), atol=1e-5, rtol=0)
    assert logits.std() > 0.05


def test_a_directory_of_save_pretrained_gives_its_own_logits_and_assumes_nothing(hugging_face_vit, image_folder):
    model, folder = hugging_face_vit
    run = import_model(folder, image_folder)
    check(run, model, load_split(run.config)[1].images[:4], [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    assert run.config.classes[:3] == ("star", "moon", "circle") and run.environment["assumed"] == []


def test_sharded_weights_are_read_and_a_missing_part_is_named(hugging_face_vit, image_folder, tmp_path):
    model, folder = hugging_face_vit
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    parts = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(parts) > 1
    whole, _ = read_state_dict(folder)
    assert all(torch.equal(value, whole[name]) for name, value in read_state_dict(tmp_path / "sharded")[0].items())
    parts[1].unlink()
    with pytest.raises(RunError, match=rf"lacks {parts[1].name}"):
        import_model(tmp_path / "sharded", image_folder)


def test_the_weights_alone_need_assumptions_which_are_listed_and_can_be_set(hugging_face_vit, image_folder, tmp_path):
    model, folder = hugging_face_vit
    (tmp_path / "names.txt").write_bytes("\ufeffstar\nmoon\ncircle\n".encode())
    assumed = import_model(folder / "model.safetensors", image_folder).environment["assumed"]
    assert [line.split("(--")[1].removesuffix(").") for line in assumed] == [
        "heads",
        "act",
        "normalization",
        "class-names",
    ]
    options = ImportOptions(4, "half", tmp_path / "names.txt", act="relu")
    run = import_model(folder / "model.safetensors", image_folder, options)
    assert run.environment["assumed"] == [] and run.config.classes[0] == "star"  # without the mark
    check(run, model, load_split(run.config)[1].images[:4], [0.5] * 3, [0.5] * 3)


def test_a_torchvision_vit_gives_its_own_logits_and_attention(image_folder, tmp_path):
    model = randomized(
        torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=96, num_classes=5
        )
    )
    torch.save(model.state_dict(), tmp_path / "vit_b.pth")
    run = import_model(tmp_path / "vit_b.pth", image_folder, ImportOptions(4, "imagenet"))
    images = load_split(run.config)[1].images[:4]
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    attention = []
    for layer in model.encoder.layers:
        layer.self_attention.register_forward_pre_hook(weights_of_each_head, with_kwargs=True)
        layer.self_attention.register_forward_hook(lambda layer, args, out: attention.append(out[1]))
    with torch.no_grad():
        logits = model((images / 255 - mean) / std)
        torch.testing.assert_close(run.load_model()(images / 255), logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(attend(run.load_model(), images)[1], torch.stack(attention, 1), atol=1e-5, rtol=0)


def weights_of_each_head(layer, args, kwargs):
    """Arguments with which torchvision's attention also returns its weights; it requests none."""
    return args, kwargs | {"need_weights": True, "average_attn_weights": False}


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: state, "_orig_mod."),
        (lambda state: state, "module._orig_mod.model."),
        (lambda state: {"state_dict": state, "epoch": 3}, "backbone."),
        (lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)}, ""),
        (lambda state: {"model": {"x": torch.zeros(1)}, "model_ema": state}, "encoder."),
        (lambda state: {"teacher": {"state_dict": state}, "optimizer": {"lr": 1}}, "module."),
    ],
    ids=["compiled", "several prefixes", "epoch beside", "arguments beside", "averaged weights", "nested twice"],
)
def test_wrappers_and_prefixes_are_removed(hugging_face_vit, tmp_path, wrap, prefix):
    whole, _ = read_state_dict(hugging_face_vit[1])
    torch.save(wrap({prefix + name: value for name, value in whole.items()}), tmp_path / "model.pth")
    tensors, _ = read_state_dict(tmp_path / "model.pth")
    assert tensors.keys() == whole.keys()


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_registers": 2, "qk_norm": True}, {"pool": "mean", "norm_pre": True}, {"pool": "mean, then norm"}],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_our_own_export_comes_back_without_assumptions(image_folder, tmp_path, changes):
    torch.manual_seed(0)
    changes = changes | {"num_classes": 3, "act": "relu", "stem": "patch"}
    model = randomized(MiniViT(preset("strong").model.model_copy(update=changes)))
    model.mean.fill_(0.4)
    model.std.fill_(0.3)
    (tmp_path / "ours.safetensors").write_bytes(timm_checkpoint(model.eval(), ("star", "moon", "circle")))
    run = import_model(tmp_path / "ours.safetensors", image_folder)
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255)[:, :3], model(images / 255), atol=1e-5, rtol=0)
    assert run.environment["assumed"] == [] and run.config.classes[:3] == ("star", "moon", "circle")


@pytest.mark.parametrize(
    "model",
    [
        lambda: ViTForImageClassification(ViTConfig(**EAGER, hidden_act="gelu_new")),
        lambda: ViTForImageClassification(ViTConfig(**EAGER, hidden_act="quick_gelu", layer_norm_eps=0.05)),
        lambda: DeiTForImageClassification(DeiTConfig(**EAGER)),
        lambda: DeiTForImageClassificationWithTeacher(DeiTConfig(**EAGER)),
        lambda: Dinov2ForImageClassification(Dinov2Config(**EAGER)),
        lambda: Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**EAGER, num_register_tokens=3)),
    ],
    ids=["GELU by tanh", "quick GELU", "DeiT", "DeiT with its teacher", "DINOv2", "DINOv2 with registers"],
)
def test_hugging_faces_relatives_of_vit_give_their_own_logits(image_folder, tmp_path, model):
    model = randomized(model())
    model.save_pretrained(tmp_path / "model")
    run = import_model(tmp_path / "model", image_folder, ImportOptions(normalization="none"))
    check(run, model, load_split(run.config)[1].images[:4], [0.0] * 3, [1.0] * 3)


def test_timms_distilled_deit_averages_its_two_heads(image_folder, tmp_path):
    model = randomized(
        VisionTransformerDistilled(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=5)
    )
    save_file(model.state_dict(), tmp_path / "deit.safetensors")
    run = import_model(tmp_path / "deit.safetensors", image_folder, ImportOptions(normalization="none"))
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        lambda: ViTModel(ViTConfig(**EAGER)),
        lambda: Dinov2Model(Dinov2Config(**EAGER)),
        lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**EAGER)),
    ],
    ids=["ViT", "DINOv2", "DINOv2 with registers"],
)
def test_a_backbone_without_a_head_has_attention_and_features_and_predicts_nothing(image_folder, tmp_path, model):
    model = randomized(model())
    model.save_pretrained(tmp_path / "model")
    run = import_model(tmp_path / "model", image_folder, ImportOptions(normalization="none"))
    probs, _ = same_features_and_attention(model, run)
    assert probs.shape == (4, 0) and run.config.classes == ("circle", "cross", "star")
    assert not any("class names" in line for line in run.environment["assumed"])
    with pytest.raises(ConfigError, match="no classifier head"):
        predict_run(run)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: ViTForImageClassification(ViTConfig(**SMALL, num_channels=4)), "images with 4 channels"),
        (lambda: Dinov2Model(Dinov2Config(**SMALL, use_swiglu_ffn=True)), "SwiGLU"),
    ],
    ids=["four channels", "SwiGLU"],
)
def test_what_minivit_lacks_is_named_before_a_run_is_created(image_folder, tmp_path, model, words):
    model().save_pretrained(tmp_path / "model")
    with pytest.raises(RunError, match=words):
        import_model(tmp_path / "model", image_folder)
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"{}", "contains no weights|is empty, cut off or damaged"),
        (b"", "contains no weights|is empty, cut off or damaged"),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_what_a_failed_download_leaves_is_named(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=words):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(hugging_face_vit, tmp_path, value):
    weights, _ = read_state_dict(hugging_face_vit[1])
    weights["layernorm.weight"][3] = value
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(RunError, match=r"NaN or infinite values, in layernorm\.weight"):
        read_state_dict(tmp_path / "x.safetensors")


def test_a_pipe_is_no_file_of_weights(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(RunError, match="not a regular file"):
        read_state_dict(tmp_path / "pipe.safetensors")
