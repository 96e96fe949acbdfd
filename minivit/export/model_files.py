"""A run's model for other programs: a checkpoint that timm loads, ONNX, and a folder of the Hugging Face Hub.

All take images as MiniViT does, float 0..1 (B, C, H, W), and give the same logits; normalization is included. ONNX has
the attention weights as outputs. The folder is for transformers and timm:

    timm.create_model("local-dir:DIR", pretrained=True)
    transformers.AutoModelForImageClassification.from_pretrained("DIR")

Its weights are those of `timm_checkpoint`; transformers reads timm's layout through its TimmWrapper."""

import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Template
from torch import Tensor, nn

from minivit.config import Preprocessing, TrainConfig, ViTConfig
from minivit.errors import ConfigError
from minivit.imports import head_class_names
from minivit.imports.convert import bias_to_positions, fold_normalization, scale_tokens
from minivit.layers import EPS
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.runs.checkpoint import serialize

OTHER_EXPORTS = "Export this model as ONNX, or the run as a .zip, which MiniViT imports."


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """Keyword arguments of timm's `VisionTransformer` for the same model. ConfigError if there are none.

    Of its subclass `VisionTransformerDistilled` for the pooling "cls and distillation".
    """
    if config.norm == "post":
        raise ConfigError(
            "timm's VisionTransformer applies LayerNorm before each sub-layer; this model applies it after each "
            "residual sum (LayerNorm: post). Train a model with LayerNorm 'pre', or export this one as ONNX."
        )
    if config.pos_embed == "rotary":
        raise ConfigError(f"timm's VisionTransformer has no rotary positions. {OTHER_EXPORTS}")
    if config.stem == "conv":
        raise ConfigError(f"timm's VisionTransformer has no convolutional stem. {OTHER_EXPORTS}")
    is_distilled = config.pool == "cls and distillation"
    if config.pool == "cls and mean" or (is_distilled and config.num_registers > 1):
        raise ConfigError(f"timm's VisionTransformer does not support this model's pooling. {OTHER_EXPORTS}")
    fields = ("img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "num_heads", "mlp_ratio")
    arguments = {field: getattr(config, field) for field in fields} | {"act_layer": config.act}
    others = {
        "reg_tokens": 0 if is_distilled else config.num_registers,
        "pre_norm": config.norm_pre,
        "qk_norm": config.qk_norm,
        "global_pool": "avg" if config.pool.startswith("mean") else "",
    }
    if config.pool == "mean":
        others["fc_norm"] = False
    return arguments | {name: value for name, value in others.items() if value or name == "fc_norm"}


def timm_checkpoint(model: MiniViT, classes: Sequence[str] = (), preprocessing: Preprocessing | None = None) -> bytes:
    """A `.safetensors` file that timm's `VisionTransformer` loads with `strict=True`.

    Its metadata contain `timm_arguments` as "arguments", the class names, if they are known, as "classes", and what an
    import needs in order to restore the model: all JSON. Sine positions become learned ones with the same values.
    ConfigError for a model that timm cannot represent.
    """
    config = model.config
    scale = math.sqrt(EPS["pre"] / (config.norm_eps or EPS["pre"]))  # tokens, as timm's epsilon cannot be set
    stored = {
        "arguments": timm_arguments(config),
        "classes": list(classes)[: config.num_classes],
        "normalization": {"mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist()},
        "preprocessing": preprocessing and preprocessing.model_dump(),
        "norm_eps": config.norm_eps,
        "token_scale": scale,
    }
    weights = {name: value.detach() for name, value in model.state_dict().items() if name not in ("mean", "std")}
    names = ("patch_embed.proj.weight", "patch_embed.proj.bias")
    weight, bias = (weights[name] for name in names)
    folded = fold_normalization(weight, bias, model.mean, model.std)
    weights |= dict(zip(names, folded, strict=True))
    if config.norm_pre:  # timm's has no bias then
        weights = bias_to_positions(weights)
        del weights["patch_embed.proj.bias"]
    if R := config.num_registers:  # timm adds positions to them; here they have none
        cls, patches = weights["pos_embed"].split([1, config.num_patches], dim=1)
        weights["pos_embed"] = torch.cat([cls, cls.new_zeros(1, R, cls.shape[-1]), patches], dim=1)
    if config.pool == "cls and distillation":
        weights["dist_token"] = weights.pop("reg_token")
    return serialize(scale_tokens(weights, scale), {name: json.dumps(value) for name, value in stored.items()})


class LogitsAndAttention(nn.Module):
    """A model with a flat tuple of outputs, as ONNX requires: logits, then the attention weights of each layer."""

    def __init__(self, model: MiniViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, attn = self.model(images, return_attn=True)
        return (logits, *attn)


def onnx_model(model: MiniViT, classes: Sequence[str] = (), preprocessing: Preprocessing | None = None) -> bytes:
    """An ONNX file: input `images`, outputs `logits` (B, K) and `attn_1` … `attn_L` (B, H, N, N), for any B.

    Its metadata contain the class names and the preprocessing as JSON. The export takes about ten seconds.
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
    names = list(classes)[: config.num_classes]
    resizing = preprocessing and preprocessing.model_dump()
    onnx.helper.set_model_props(proto, {"classes": json.dumps(names), "preprocessing": json.dumps(resizing)})
    return proto.SerializeToString()


# Names that timm knows, without and with a distillation token; all that differs stands in model_args
ARCHITECTURES = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")


def hub_archive(run: Run, epoch: int | None = None) -> bytes:
    """The folder as a .zip: weights, configuration, model card. ConfigError for a model that timm cannot represent."""
    model = run.load_model(epoch)
    names = head_class_names(run)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", timm_checkpoint(model, names, run.config.preprocessing))
        archive.writestr("config.json", json.dumps(hub_config(run.config, names), indent=2))
        archive.writestr("README.md", model_card(run, epoch, names))
    return content.getvalue()


def hub_config(config: TrainConfig, class_names: list[str]) -> dict[str, Any]:
    """timm's config.json. Images come as 0..1: mean and standard deviation are part of the patch embedding."""
    vit = config.model
    resizing = config.preprocessing or Preprocessing(size=vit.img_size, interpolation="bicubic")
    size = resizing.size or vit.img_size
    arguments = timm_arguments(vit)
    return {
        "architecture": ARCHITECTURES[vit.pool == "cls and distillation"],
        "num_classes": arguments.pop("num_classes"),
        **({"label_names": class_names} if class_names else {}),
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [vit.in_chans, vit.img_size, vit.img_size],
            "fixed_input_size": True,
            "mean": [0.0] * vit.in_chans,
            "std": [1.0] * vit.in_chans,
            "crop_pct": math.nextafter(vit.img_size / size, 0),  # timm rounds img_size / crop_pct down to the size
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
        class_names=class_names,
        classes=json.dumps(class_names, ensure_ascii=False),
        num_test=run.environment.get("num_test"),
        config=run.config,
        settings=json.dumps(run.config.model_dump(mode="json", exclude={"classes", "data_dir"}), indent=2),
    )
