"""A model that was imported is exported and imported again: it stays the same, and other libraries load it."""

import json
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
import timm
import torch
import torchvision
from other_libraries import EAGER, NAMES, randomized
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from minivit.attention import attend
from minivit.config import Preprocessing
from minivit.data import load_split
from minivit.export import export
from minivit.imports import ImportOptions, assumptions, has_class_names, import_model
from minivit.runs import Run

STATS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
CROP = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 3}


def hugging_face(model: PreTrainedModel, processor: object, folder: Path) -> None:
    randomized(model).save_pretrained(folder)
    processor.save_pretrained(folder)  # type: ignore[attr-defined]


def of_timm(model: VisionTransformer, architecture: str, folder: Path, **changes) -> None:
    folder.mkdir()
    save_file(randomized(model).state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "squash"}
    pretrained |= {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    config = {"architecture": architecture, "label_names": list(NAMES.values()), "model_args": {"num_heads": 4}}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": pretrained} | changes), "utf-8")


def of_torchvision(folder: Path) -> None:
    sizes = {"patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 96, "num_classes": 3}
    folder.mkdir()
    save_file(
        randomized(torchvision.models.VisionTransformer(image_size=32, **sizes)).state_dict(),
        folder / "model.safetensors",
    )


MODELS = {
    "ViT": lambda folder: hugging_face(
        ViTForImageClassification(ViTConfig(**EAGER, hidden_act="quick_gelu")), ViTImageProcessor(size=32), folder
    ),
    "ViT with a large epsilon": lambda folder: hugging_face(
        ViTForImageClassification(ViTConfig(**EAGER, layer_norm_eps=0.05)),
        ViTImageProcessor(size=32, resample=0, **STATS),
        folder,
    ),
    "DeiT": lambda folder: hugging_face(
        DeiTForImageClassification(DeiTConfig(**EAGER)),
        DeiTImageProcessor(size={"height": 37, "width": 37}, crop_size=32, resample=3),
        folder,
    ),
    "DINOv2": lambda folder: hugging_face(Dinov2Model(Dinov2Config(**EAGER)), BitImageProcessor(**CROP), folder),
    "DINOv2 with registers": lambda folder: hugging_face(
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**EAGER, num_register_tokens=3)),
        BitImageProcessor(**CROP),
        folder,
    ),
    "torchvision": of_torchvision,
    "CLIP of timm": partial(
        of_timm,
        VisionTransformer(
            **TIMM, pre_norm=True, act_layer="quick_gelu", norm_layer=partial(torch.nn.LayerNorm, eps=1e-5)
        ),
        "vit_base_patch16_clip_quickgelu_224",
    ),
    "distilled DeiT of timm": partial(of_timm, VisionTransformerDistilled(**TIMM), "deit_base_distilled_patch16_224"),
    "average pooling": partial(
        of_timm,
        VisionTransformer(**TIMM, pre_norm=True, reg_tokens=3, global_pool="avg"),
        "vit_reg3_gap_16",
        global_pool="avg",
    ),
    "qk-norm": partial(
        of_timm,
        VisionTransformer(**TIMM, qk_norm=True, reg_tokens=2, global_pool="avg", fc_norm=False),
        "vit_reg2_gap_16",
        model_args={"num_heads": 4, "act_layer": "gelu_tanh"},
        global_pool="avg",
    ),
}


@pytest.mark.parametrize("fmt", ["timm", "huggingface"])
@pytest.mark.parametrize("name", MODELS)
def test_an_imported_model_stays_the_same_when_it_is_exported_and_imported_again(image_folder, tmp_path, name, fmt):
    MODELS[name](tmp_path / "model")
    run = import_model(tmp_path / "model", image_folder, ImportOptions(4 if name == "torchvision" else None))
    again = import_model(exported(run, fmt, tmp_path / "exported"), image_folder)
    assert again.config == run.config
    assert again.environment["normalization"] == run.environment["normalization"]
    assert has_class_names(again) == has_class_names(run)
    assert [line for line in assumptions(again) if "class names" not in line] == []
    images = load_split(run.config)[1].images[:4]
    (probs, attn), (probs_again, attn_again) = (attend(each.load_model(), images) for each in (run, again))
    torch.testing.assert_close(attn_again, attn, atol=1e-5, rtol=0)
    torch.testing.assert_close(probs_again, probs, atol=1e-5, rtol=0)
    with torch.no_grad():
        logits, logits_again = (each.load_model()(images / 255) for each in (run, again))
    torch.testing.assert_close(logits_again, logits, atol=1e-5, rtol=0)
    assert logits.std() > 0.05 and attn.std() > 5e-4


@pytest.mark.parametrize("name", MODELS)
def test_timm_gives_the_logits_of_an_exported_model_that_was_imported(image_folder, tmp_path, name):
    MODELS[name](tmp_path / "model")
    run = import_model(tmp_path / "model", image_folder, ImportOptions(4 if name == "torchvision" else None))
    folder = exported(run, "huggingface", tmp_path / "exported")
    images = load_split(run.config)[1].images[:4] / 255
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), run.load_model()(images), atol=1e-5, rtol=0)
    if run.config.preprocessing:
        stored = json.loads((folder / "config.json").read_text("utf-8"))["pretrained_cfg"]
        transform = timm.data.create_transform(**timm.data.resolve_data_config(stored))
        assert transform.transforms[0].size == size_of(run.config.preprocessing)
        assert AutoImageProcessor.from_pretrained(folder).data_config["mean"] == (0, 0, 0)


def size_of(preprocessing: Preprocessing) -> int | tuple[int, int]:
    return preprocessing.size if preprocessing.keep_aspect else (preprocessing.size, preprocessing.size)


def exported(run: Run, fmt: str, path: Path) -> Path:
    """The file or folder that an export writes."""
    content = export(run, fmt)
    assert isinstance(content, bytes)
    path.mkdir()
    if fmt == "huggingface":
        with ZipFile(BytesIO(content)) as archive:
            archive.extractall(path)
        return path
    (path / "exported.safetensors").write_bytes(content)
    return path / "exported.safetensors"
