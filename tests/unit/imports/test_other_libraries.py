"""Models of Hugging Face and torchvision as runs: the logits and the attention of their own library."""

import shutil

import pytest
import torch
import torchvision
from other_libraries import EAGER, SMALL, randomized, same_features_and_attention
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    CLIPVisionConfig,
    CLIPVisionModel,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersModel,
    ResNetConfig,
    ResNetForImageClassification,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    ViTMSNConfig,
    ViTMSNForImageClassification,
)

from minivit.attention import attend
from minivit.data import load_split
from minivit.errors import ConfigError, RunError
from minivit.imports import ImportOptions, import_model
from minivit.inference import predict_run


def check(run, model, images: torch.Tensor, mean: list[float], std: list[float]) -> None:
    """The run's logits and attention are those of a Hugging Face model."""
    pixels = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        out = model(pixels, output_attentions=True)
        logits = run.load_model()(images / 255)
    torch.testing.assert_close(logits, out.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(attend(run.load_model(), images)[1], torch.stack(out.attentions, 1), atol=1e-5, rtol=0)
    assert logits.std() > 0.05


@pytest.mark.parametrize("name", ["", "model.safetensors"], ids=["directory", "its weights file"])
def test_a_directory_of_save_pretrained_gives_its_own_logits_and_assumes_nothing(hugging_face_vit, image_folder, name):
    model, folder = hugging_face_vit
    run = import_model(folder / name, image_folder)
    check(run, model, load_split(run.config)[1].images[:4], [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    assert run.config.classes[:3] == ("star", "moon", "circle") and run.environment["assumed"] == []


def test_the_weights_alone_need_assumptions_which_are_listed_and_can_be_set(hugging_face_vit, image_folder, tmp_path):
    model, folder = hugging_face_vit
    (tmp_path / "names.txt").write_bytes("\ufeffstar\nmoon\ncircle\n".encode())
    shutil.copy(folder / "model.safetensors", tmp_path / "vit.safetensors")
    assumed = import_model(tmp_path / "vit.safetensors", image_folder).environment["assumed"]
    assert [line.split("(")[1].removesuffix(").") for line in assumed] == [
        "--heads",
        "--act",
        "--normalization",
        "preprocessor_config.json",
        "--class-names",
    ]
    options = ImportOptions(4, "half", tmp_path / "names.txt", act="relu")
    run = import_model(tmp_path / "vit.safetensors", image_folder, options)
    assert len(run.environment["assumed"]) == 1 and run.config.classes[0] == "star"  # without the mark
    check(run, model, load_split(run.config)[1].images[:4], [0.5] * 3, [0.5] * 3)


def test_a_torchvision_vit_gives_its_own_logits_and_attention(image_folder, tmp_path):
    model = randomized(
        torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=96, num_classes=5
        )
    )
    torch.save(model.state_dict(), tmp_path / "vit_b.pth")
    run = import_model(tmp_path / "vit_b.pth", image_folder, ImportOptions(4))
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
    "model",
    [
        lambda: ViTForImageClassification(ViTConfig(**EAGER, hidden_act="gelu_new")),
        lambda: ViTForImageClassification(ViTConfig(**EAGER, hidden_act="gelu_fast")),
        lambda: ViTForImageClassification(ViTConfig(**EAGER, hidden_act="quick_gelu", layer_norm_eps=0.05)),
        lambda: ViTMSNForImageClassification(ViTMSNConfig(**EAGER)),
        lambda: DeiTForImageClassification(DeiTConfig(**EAGER)),
        lambda: DeiTForImageClassificationWithTeacher(DeiTConfig(**EAGER)),
        lambda: Dinov2ForImageClassification(Dinov2Config(**EAGER)),
        lambda: Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**EAGER, num_register_tokens=3)),
    ],
    ids=[
        "GELU by tanh",
        "fast GELU",
        "quick GELU",
        "ViT-MSN",
        "DeiT",
        "DeiT with its teacher",
        "DINOv2",
        "DINOv2 with registers",
    ],
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
        (lambda: ViTForImageClassification(ViTConfig(**SMALL, hidden_act="silu")), "activation 'silu'"),
        (lambda: CLIPVisionModel(CLIPVisionConfig(**SMALL)), "the layers of CLIP or SigLIP"),
        (lambda: SiglipVisionModel(SiglipVisionConfig(**SMALL)), "the layers of CLIP or SigLIP"),
        (
            lambda: BeitForImageClassification(BeitConfig(**SMALL, use_relative_position_bias=True)),
            "relative positions",
        ),
        (lambda: ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1])), "no patch embedding under"),
    ],
    ids=["four channels", "SwiGLU", "SiLU", "CLIP", "SigLIP", "BEiT", "ResNet"],
)
def test_what_minivit_lacks_is_named_before_a_run_is_created(image_folder, tmp_path, model, words):
    model().save_pretrained(tmp_path / "model")
    with pytest.raises(RunError, match=words):
        import_model(tmp_path / "model", image_folder)
    assert not list((tmp_path / "runs").iterdir())
