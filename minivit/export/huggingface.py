"""A run's model as a folder of the Hugging Face Hub, which transformers and timm load.

    timm.create_model("local-dir:DIR", pretrained=True)
    transformers.AutoModelForImageClassification.from_pretrained("DIR")

The weights are those of `timm_checkpoint`; transformers reads timm's layout through its TimmWrapper.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from minivit.config import Preprocessing, TrainConfig
from minivit.export.model_files import timm_arguments, timm_checkpoint
from minivit.runs import Run

ARCHITECTURE = "vit_tiny_patch16_224"  # a name that timm knows; all that differs stands in model_args
_templates = Environment(  # Markdown is not escaped: names of classes stand in it as JSON inside a code block
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    autoescape=select_autoescape(),
    trim_blocks=True,
)


def hub_folder(run: Run, epoch: int | None = None) -> dict[str, bytes]:
    """The files by name: weights, configuration and model card. ConfigError for a model that timm cannot represent."""
    model = run.load_model(epoch)
    names = list(run.config.classes)[: model.config.num_classes]
    return {
        "model.safetensors": timm_checkpoint(model, names),
        "config.json": json.dumps(hub_config(run.config, names), indent=2).encode(),
        "README.md": model_card(run, epoch, names).encode(),
    }


def hub_archive(run: Run, epoch: int | None = None) -> bytes:
    """The same as a .zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in hub_folder(run, epoch).items():
            archive.writestr(name, data)
    return content.getvalue()


def hub_config(config: TrainConfig, class_names: list[str]) -> dict[str, Any]:
    """timm's config.json. Images come as 0..1: mean and standard deviation are part of the patch embedding."""
    vit = config.model
    resizing = config.preprocessing or Preprocessing(size=vit.img_size, interpolation="bilinear")
    arguments = timm_arguments(vit)
    return {
        "architecture": ARCHITECTURE,
        "num_classes": arguments.pop("num_classes"),
        "label_names": class_names,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [vit.in_chans, vit.img_size, vit.img_size],
            "fixed_input_size": True,
            "mean": [0.0] * vit.in_chans,
            "std": [1.0] * vit.in_chans,
            "crop_pct": vit.img_size / resizing.size,
            "crop_mode": "center" if resizing.keep_aspect else "squash",
            "interpolation": resizing.interpolation,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def model_card(run: Run, epoch: int | None, class_names: list[str]) -> str:
    """A README.md with the Hub's metadata, the accuracy, the settings and how to load the model."""
    epoch = run.epochs()[-1] if epoch is None else epoch
    row = next((row for row in run.metrics() if row["epoch"] == epoch), None)
    return _templates.get_template("model_card.md").render(
        title=json.dumps(f"MiniViT {run.id}"),
        epoch=epoch,
        row=row,
        classes=json.dumps(class_names, ensure_ascii=False),
        num_test=run.environment.get("num_test"),
        config=run.config,
        settings=json.dumps(run.config.model_dump(mode="json", exclude={"classes", "data_dir"}), indent=2),
    )
