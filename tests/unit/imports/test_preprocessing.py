"""Pictures reach an imported model as its own library prepares them."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from other_libraries import EAGER, randomized
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2ForImageClassification,
    ViTImageProcessor,
)

from minivit.data import load_split
from minivit.data.decode import image_format, read_picture
from minivit.imports import import_model
from minivit.inference import logits


@pytest.mark.parametrize(
    ("size", "patch_size", "processor"),
    [
        (32, 8, lambda: ViTImageProcessor(size={"height": 32, "width": 32}, resample=2)),
        (32, 8, lambda: ViTImageProcessor(size={"shortest_edge": 40}, crop_size=32, do_center_crop=True, resample=3)),
        (48, 8, lambda: BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})),
        (518, 14, lambda: BitImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56})),
    ],
    ids=["both sides", "shorter side and crop", "DINOv2 for smaller images", "DINOv2 as published, of 518 px"],
)
def test_pictures_are_resized_cropped_and_normalized_as_by_the_models_own_processor(
    tmp_path, size, patch_size, processor
):
    folder = photographs(tmp_path / "images")
    config = Dinov2Config(**EAGER | {"image_size": size, "patch_size": patch_size})
    model = randomized(Dinov2ForImageClassification(config))
    model.save_pretrained(tmp_path / "model")
    processor().save_pretrained(tmp_path / "model")
    run = import_model(tmp_path / "model", folder)
    images = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    with torch.no_grad():
        theirs = model(**processor()(images, return_tensors="pt")).logits
    torch.testing.assert_close(logits(run.load_model(), load_split(run.config)[1].images), theirs, atol=1e-4, rtol=0)
    assert run.environment["assumed"] == []
    picture = read_picture(sorted(folder.rglob("*.png"))[0], image_format(run.config))
    torch.testing.assert_close(logits(run.load_model(), picture), theirs[:1], atol=1e-4, rtol=0)


def test_timms_own_preprocessing_is_followed(tmp_path):
    folder = photographs(tmp_path / "images")
    model = randomized(timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1))
    pretrained = {"input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bicubic"}
    pretrained |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "crop_mode": "center"}
    (tmp_path / "model").mkdir()
    save_file(model.state_dict(), tmp_path / "model" / "model.safetensors")
    written = {"architecture": "vit", "num_classes": 1000, "global_pool": "token", "pretrained_cfg": pretrained}
    (tmp_path / "model" / "config.json").write_text(json.dumps(written), encoding="utf-8")
    run = import_model(tmp_path / "model", folder)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained), is_training=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in sorted(folder.rglob("*.png"))])
    with torch.no_grad():
        theirs = model(images)
    torch.testing.assert_close(logits(run.load_model(), load_split(run.config)[1].images), theirs, atol=1e-4, rtol=0)


def photographs(folder: Path) -> Path:
    """Two class folders with images of different sizes and shapes."""
    generator = np.random.default_rng(0)
    for index, (width, height) in enumerate([(90, 61), (50, 75), (64, 64), (47, 300)]):
        path = folder / "ab"[index // 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = generator.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width]).save(path)
    return folder
