"""A run's model for other programs: a checkpoint that timm loads, ONNX, and a folder of the Hugging Face Hub.

All take images as MiniViT does, float 0..1 (B, C, H, W), and give the same logits; normalization is included. ONNX has
the attention weights as outputs. The folder is for transformers and timm:

    timm.create_model("local-dir:DIR", pretrained=True)
    transformers.AutoModelForImageClassification.from_pretrained("DIR")

Its weights are those of `timm_checkpoint`; transformers reads timm's layout through its TimmWrapper."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Template
from safetensors.torch import save
from torch import Tensor, nn

from minivit.config import Preprocessing, TrainConfig, ViTConfig
from minivit.errors import ConfigError
from minivit.model import MiniViT
from minivit.runs import Run


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """Keyword arguments of timm's `VisionTransformer` for the same model. ConfigError if there are none."""
    if config.norm == "post":
        raise ConfigError(
            "timm's VisionTransformer applies LayerNorm before each sub-layer; this model applies it after each "
            "residual sum (LayerNorm: post). Train a model with LayerNorm 'pre', or export this one as ONNX."
        )
    if config.pos_embed == "rotary":
        raise ConfigError("timm's VisionTransformer has no rotary positions. Export this model as ONNX.")
    if config.stem == "conv":
        raise ConfigError("timm's VisionTransformer has no convolutional stem. Export this model as ONNX.")
    if not config.num_classes:
        raise ConfigError("This model is a backbone without a head, so there is no classifier. Export it as ONNX.")
    if config.pool in ("cls and mean", "cls and distillation"):
        raise ConfigError("timm's VisionTransformer does not support this model's pooling. Export it as ONNX.")
    fields = ("img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "num_heads", "mlp_ratio")
    arguments = {field: getattr(config, field) for field in fields} | {"act_layer": config.act}
    others = {
        "reg_tokens": config.num_registers,
        "pre_norm": config.norm_pre,
        "qk_norm": config.qk_norm,
        "global_pool": "" if config.pool == "cls" else "avg",
    }
    if config.pool == "mean":
        others["fc_norm"] = False
    return arguments | {name: value for name, value in others.items() if value or name == "fc_norm"}


def timm_checkpoint(model: MiniViT, classes: Sequence[str] = ()) -> bytes:
    """A `.safetensors` file that timm's `VisionTransformer` loads with `strict=True`.

    Its metadata contain `timm_arguments` as "arguments" and the class names as "classes", both JSON. Sine positions
    become learned ones with the same values. ConfigError for a model that timm cannot represent.
    """
    metadata = {
        "norm_eps": json.dumps(model.config.norm_eps),
        "arguments": json.dumps(timm_arguments(model.config)),
        "classes": json.dumps(list(classes)[: model.config.num_classes]),
    }
    weights = {name: value.detach() for name, value in model.state_dict().items() if name not in ("mean", "std")}
    names = ("patch_embed.proj.weight", "patch_embed.proj.bias")
    weight, bias = (weights[name] for name in names)
    folded = fold_normalization(weight, bias, model.mean, model.std)
    weights |= dict(zip(names, folded, strict=True))
    if R := model.config.num_registers:  # timm adds positions to them; here they have none
        cls, patches = weights["pos_embed"].split([1, model.config.num_patches], dim=1)
        weights["pos_embed"] = torch.cat([cls, cls.new_zeros(1, R, cls.shape[-1]), patches], dim=1)
    return save({name: value.contiguous().cpu() for name, value in weights.items()}, metadata)


def fold_normalization(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, C, p, p) and bias (D,) of a patch convolution that takes images before (image - mean) / std.

    Exact, as the convolution has no padding: W' = W / std and b' = b - Σ W' · mean, summed in float64.
    """
    folded = weight.double() / std.double()
    shifted = bias.double() - (folded * mean.double()).sum((1, 2, 3))
    return folded.to(weight.dtype), shifted.to(bias.dtype)


class LogitsAndAttention(nn.Module):
    """A model with a flat tuple of outputs, as ONNX requires: logits, then the attention weights of each layer."""

    def __init__(self, model: MiniViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, attn = self.model(images, return_attn=True)
        return (logits, *attn)


def onnx_model(model: MiniViT, classes: Sequence[str] = ()) -> bytes:
    """An ONNX file: input `images`, outputs `logits` (B, K) and `attn_1` … `attn_L` (B, H, N, N), for any B.

    Its metadata contain the class names as JSON. The export takes about ten seconds.
    """
    import onnx  # slow to import, with torch's exporter

    config = model.config
    program = torch.onnx.export(
        LogitsAndAttention(model).eval(),
        (torch.rand(2, config.in_chans, config.img_size, config.img_size),),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["logits", *(f"attn_{layer}" for layer in range(1, config.depth + 1))],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
    )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"classes": json.dumps(list(classes)[: config.num_classes])})
    return proto.SerializeToString()


ARCHITECTURE = "vit_tiny_patch16_224"  # a name that timm knows; all that differs stands in model_args


def hub_archive(run: Run, epoch: int | None = None) -> bytes:
    """The folder as a .zip: weights, configuration, model card. ConfigError for a model that timm cannot represent."""
    model = run.load_model(epoch)
    names = list(run.config.classes)[: model.config.num_classes]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", timm_checkpoint(model, names))
        archive.writestr("config.json", json.dumps(hub_config(run.config, names), indent=2))
        archive.writestr("README.md", model_card(run, epoch, names))
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
            "crop_pct": vit.img_size / (resizing.size or vit.img_size),
            "crop_mode": "center" if resizing.keep_aspect else "squash",
            "interpolation": resizing.interpolation.removesuffix("-exact"),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def model_card(run: Run, epoch: int | None, class_names: list[str]) -> str:
    """A README.md with the Hub's metadata, the accuracy, the settings and how to load the model."""
    epoch = run.epochs()[-1] if epoch is None else epoch
    row = next((row for row in run.metrics() if row["epoch"] == epoch), None)
    template = Template((Path(__file__).parent / "model_card.md").read_text(encoding="utf-8"), trim_blocks=True)
    return template.render(  # not escaped: the names of classes are JSON inside a code block
        title=json.dumps(f"MiniViT {run.id}"),
        epoch=epoch,
        row=row,
        classes=json.dumps(class_names, ensure_ascii=False),
        num_test=run.environment.get("num_test"),
        config=run.config,
        settings=json.dumps(run.config.model_dump(mode="json", exclude={"classes", "data_dir"}), indent=2),
    )
