"""timm and transformers load the exported folder and give the same logits and class names, and so do we."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from minivit.cli import main
from minivit.data import load_images
from minivit.engine import SILENT, train
from minivit.errors import ConfigError
from minivit.export import export
from minivit.imports import ImportOptions, assumptions, import_model
from minivit.model import MiniViT
from minivit.runs import Run


@pytest.fixture
def run(tiny) -> Run:
    """Two pre-norm layers after three epochs, with a normalization of its own."""
    config = tiny.changed(norm="pre", pos_embed="learned", normalize=True, classes=("star", "circle"))
    run = Run.create(config)
    train(config, run, SILENT)
    return run


@pytest.fixture
def folder(run, tmp_path):
    """The folder as the command line writes it."""
    path = tmp_path / "hub"
    assert main(["export", str(run.path), "--what", "huggingface", "--output", str(path)]) == 0
    return path


def test_timm_and_transformers_give_the_logits_and_classes_of_the_run(run, folder):
    images = load_images("shapes", classes=run.config.classes, images_per_class=3).images[:] / 255
    with torch.no_grad():
        ours = run.load_model()(images)
        by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        by_transformers = AutoModelForImageClassification.from_pretrained(folder).eval()
        torch.testing.assert_close(by_timm(images), ours, atol=1e-5, rtol=0)
        torch.testing.assert_close(by_transformers(pixel_values=images).logits, ours, atol=1e-5, rtol=0)
    assert by_transformers.config.id2label == {0: "star", 1: "circle"}
    pixels = AutoImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt")
    torch.testing.assert_close(pixels["pixel_values"], images, atol=1 / 255, rtol=0)


def test_the_folder_can_be_imported_again_without_an_assumption(run, folder, image_folder):
    again = import_model(folder, str(image_folder), ImportOptions())
    assert again.config.classes[:2] == ("star", "circle") and not assumptions(again)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again.load_model()(images), run.load_model()(images), atol=1e-5, rtol=0)


def test_the_model_card_has_the_accuracy_and_the_settings(run, folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: timm\n") and f"epoch {run.epochs()[-1]}" in card
    assert f"{run.metrics()[-1]['test_acc']:.1%}" in card
    assert json.loads(card.split("```json")[2].split("```")[0])["lr"] == run.config.lr
    assert load_file(folder / "model.safetensors")["head.weight"].shape == (2, 16)


def test_a_model_that_timm_cannot_represent_is_refused(tiny):
    run = Run.create(tiny)
    run.save_checkpoint(MiniViT(tiny.model), 0)
    with pytest.raises(ConfigError, match="LayerNorm: post"):
        export(run, "huggingface")
