"""A model and its directory, as `save_pretrained` writes it."""

import json
from pathlib import Path

import pytest
import torch
from other_libraries import NAMES, SMALL, randomized
from transformers import ViTConfig, ViTForImageClassification


@pytest.fixture(scope="module")
def hugging_face_vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A classifier and its directory, with class names, an activation and a normalization of its own."""
    config = ViTConfig(**SMALL, id2label=NAMES, hidden_act="relu", attn_implementation="eager")
    model, folder = randomized(ViTForImageClassification(config)), tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    stats = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(stats), encoding="utf-8")
    return model, folder
