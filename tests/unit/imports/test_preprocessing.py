"""Pictures reach an imported model as its own library prepares them."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from other_libraries import EAGER, randomized
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings
from transformers import (
    BitImageProcessor,
    DeiTImageProcessor,
    Dinov2Config,
    Dinov2ForImageClassification,
    ViTImageProcessor,
)

from minivit.data import load_split
from minivit.data.decode import image_format, read_picture
from minivit.errors import RunError
from minivit.imports import ImportOptions, import_model
from minivit.inference import logits

BOTH_32 = {"height": 32, "width": 32}
NAMES_1000 = [f"name {index}" for index in range(1000)]


@pytest.mark.parametrize(
    ("size", "patch_size", "processor", "settings"),
    [
        (32, 8, ViTImageProcessor, {"size": BOTH_32, "resample": 2}),
        (32, 8, ViTImageProcessor, {"size": {"shortest_edge": 40}, "crop_size": 32, "do_center_crop": True}),
        (48, 8, BitImageProcessor, {"size": {"shortest_edge": 40}, "crop_size": BOTH_32}),
        (518, 14, BitImageProcessor, {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}),
        (32, 8, DeiTImageProcessor, {"size": 40, "crop_size": 32}),
        (32, 8, BitImageProcessor, {"size": 40, "crop_size": 32}),
        (32, 8, ViTImageProcessor, {"size": 32, "do_normalize": False}),
        (
            32,
            8,
            ViTImageProcessor,
            {"size": 32, "do_rescale": False, "image_mean": [99.0] * 3, "image_std": [120.0] * 3},
        ),
        (32, 8, ViTImageProcessor, {"size": 32, "resample": 0}),
        (64, 8, BitImageProcessor, {"do_resize": False, "crop_size": 64}),
    ],
    ids=[
        *("both sides", "shorter side and crop", "DINOv2 for smaller images", "DINOv2 as published, of 518 px"),
        *("an older DeiT", "an older DINOv2", "not normalized", "not rescaled", "nearest", "cropped, not resized"),
    ],
)
def test_pictures_are_resized_cropped_and_normalized_as_by_the_models_own_processor(
    tmp_path, size, patch_size, processor, settings
):
    folder = photographs(tmp_path / "images")
    config = Dinov2Config(**EAGER | {"image_size": size, "patch_size": patch_size})
    model = randomized(Dinov2ForImageClassification(config))
    model.save_pretrained(tmp_path / "model")
    write_processor(tmp_path / "model", processor, settings)
    run = import_model(tmp_path / "model", folder)
    images = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    with torch.no_grad():
        theirs = model(**processor.from_pretrained(tmp_path / "model")(images, return_tensors="pt")).logits
    torch.testing.assert_close(logits(run.load_model(), load_split(run.config)[1].images), theirs, atol=1e-4, rtol=0)
    assert run.environment["assumed"] == []
    picture = read_picture(sorted(folder.rglob("*.png"))[0], image_format(run.config))
    torch.testing.assert_close(logits(run.load_model(), picture), theirs[:1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 32, "resample": 4}, "PIL's filter 4"),
        ({"size": {"height": 32, "width": 40}}, "to {'height': 32, 'width': 40}"),
        ({"size": 32, "image_std": [0.5, 0.0, 0.5]}, r"standard deviation of \[0\.5, 0\.0, 0\.5\]"),
    ],
    ids=["box", "not square", "deviation of 0"],
)
def test_preprocessing_that_minivit_lacks_is_refused_by_name(tmp_path, settings, words):
    Dinov2ForImageClassification(Dinov2Config(**EAGER)).save_pretrained(tmp_path / "model")
    write_processor(tmp_path / "model", ViTImageProcessor, settings)
    with pytest.raises(RunError, match=words):
        import_model(tmp_path / "model", photographs(tmp_path / "images"))


def write_processor(folder: Path, processor: type, settings: dict) -> None:
    """The processor's configuration, with the settings as they are here, which older versions wrote so."""
    processor(**settings).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


@pytest.mark.parametrize("is_flat", [False, True], ids=["today's", "of older versions"])
def test_timms_own_preprocessing_is_followed(tmp_path, is_flat):
    folder = photographs(tmp_path / "images")
    model = randomized(timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1))
    pretrained = {"input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bicubic"}
    pretrained |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "crop_mode": "center"}
    (tmp_path / "model").mkdir()
    save_file(model.state_dict(), tmp_path / "model" / "model.safetensors")
    written = {"architecture": "vit", "num_classes": 1000}
    written |= (
        pretrained | {"labels": NAMES_1000} if is_flat else {"global_pool": "token", "pretrained_cfg": pretrained}
    )
    (tmp_path / "model" / "config.json").write_text(json.dumps(written), encoding="utf-8")
    run = import_model(tmp_path / "model", folder)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained), is_training=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in sorted(folder.rglob("*.png"))])
    with torch.no_grad():
        theirs = model(images)
    torch.testing.assert_close(logits(run.load_model(), load_split(run.config)[1].images), theirs, atol=1e-4, rtol=0)
    assert run.config.classes[999] == ("name 999" if is_flat else "class 999")
    assert not any(
        word in line for line in run.environment["assumed"] for word in ("normalization", "cropped", "reads")
    )


@pytest.mark.parametrize(("size", "library"), [(80, "timm"), (16, "timm"), (80, "torchvision")])
def test_a_model_for_images_of_another_size_is_resampled_as_by_its_own_library(image_folder, tmp_path, size, library):
    if library == "timm":
        model = randomized(VisionTransformer(img_size=size, patch_size=8, embed_dim=64, depth=1, num_heads=1))
        weights = model.state_dict()
        model.set_input_size((32, 32))
    else:
        sizes = {"patch_size": 8, "num_layers": 1, "num_heads": 1, "hidden_dim": 64, "mlp_dim": 64}
        weights = randomized(torchvision.models.VisionTransformer(image_size=size, **sizes)).state_dict()
        model = torchvision.models.VisionTransformer(image_size=32, **sizes).eval()
        model.load_state_dict(interpolate_embeddings(32, 8, OrderedDict(weights)))
    save_file(weights, tmp_path / "vit.safetensors")
    run = import_model(tmp_path / "vit.safetensors", image_folder, ImportOptions(normalization="none", img_size=32))
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)


def photographs(folder: Path) -> Path:
    """Two class folders with images of different sizes and shapes."""
    generator = np.random.default_rng(0)
    for index, (width, height) in enumerate([(90, 61), (50, 75), (64, 64), (47, 300)]):
        path = folder / "ab"[index // 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = generator.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width]).save(path)
    return folder
