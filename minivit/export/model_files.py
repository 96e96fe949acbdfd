"""A run's model for other programs: a checkpoint that timm loads, and ONNX with the attention as outputs.

Both take images as MiniViT does, float 0..1 (B, C, H, W), and give the same logits; normalisation is inside.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.model import MiniViT

TIMM_BLOCK = (
    "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
    "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip
TIMM_AROUND = (
    "cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias",
    "head.weight", "head.bias",
)  # fmt: skip


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """What `timm.models.vision_transformer.VisionTransformer` is to be called with, **arguments.

    Raises ConfigError for a model that it cannot hold.
    """
    if config.norm == "post":
        raise ConfigError(
            "timm's VisionTransformer normalises before each sub-layer, and this model after each residual sum "
            "(LayerNorm: post). Train one with LayerNorm 'pre' for timm, or take this one along as ONNX."
        )
    with torch.device("meta"):
        names = {name for name in MiniViT(config).state_dict() if name not in ("mean", "std")}
    known = {*TIMM_AROUND, *(f"blocks.{n}.{name}" for n in range(config.depth) for name in TIMM_BLOCK)}
    if names != known:
        raise ConfigError(
            f"timm's VisionTransformer has no place for a part of this model ({min(names ^ known)}), such as a "
            "convolutional stem. Take it along as ONNX."
        )
    return {
        "img_size": config.img_size, "patch_size": config.patch_size, "in_chans": config.in_chans,
        "num_classes": config.num_classes, "embed_dim": config.embed_dim, "depth": config.depth,
        "num_heads": config.num_heads, "mlp_ratio": config.mlp_ratio, "act_layer": config.act,
    }  # fmt: skip


def timm_checkpoint(model: MiniViT, classes: Sequence[str] = ()) -> bytes:
    """A `.safetensors` file that timm's VisionTransformer loads with `strict=True`.

    Its metadata hold `timm_arguments` as "arguments" and the classes as "classes", both JSON. Sine positions become
    learned ones of the same values. Raises ConfigError for a model that timm cannot hold.
    """
    arguments = timm_arguments(model.config)
    weights = {name: value.detach() for name, value in model.state_dict().items() if name not in ("mean", "std")}
    weight, bias = fold_normalization(
        weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], model.mean, model.std
    )
    weights |= {"patch_embed.proj.weight": weight, "patch_embed.proj.bias": bias}
    about = {"arguments": json.dumps(arguments), "classes": json.dumps(list(classes))}
    return save({name: value.contiguous().cpu() for name, value in weights.items()}, about)


def fold_normalization(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, C, p, p) and bias (D,) of a patch convolution that take images before (image − mean) / std.

    Exact, as the convolution pads nothing: W' = W / std and b' = b − Σ W' · mean, summed in float64.
    """
    folded = weight.double() / std.double()
    shifted = bias.double() - (folded * mean.double()).sum((1, 2, 3))
    return folded.to(weight.dtype), shifted.to(bias.dtype)


class _Shown(nn.Module):
    """A model whose outputs are its logits and one attention per layer."""

    def __init__(self, model: MiniViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, attn = self.model(images, return_attn=True)
        return (logits, *attn)


def onnx_model(model: MiniViT, classes: Sequence[str] = ()) -> bytes:
    """An ONNX file: input `images`, outputs `logits` (B, K) and `attn_1` … `attn_L` (B, H, N, N), for any B.

    Its metadata hold the classes as JSON. Takes some ten seconds.
    """
    import onnx  # with torch's exporter, seconds to import

    config = model.config
    example = torch.rand(2, config.in_chans, config.img_size, config.img_size)
    program = torch.onnx.export(
        _Shown(model).eval(), (example,), dynamo=True, verbose=False, input_names=["images"],
        output_names=["logits", *(f"attn_{layer}" for layer in range(1, config.depth + 1))],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"classes": json.dumps(list(classes))})
    return proto.SerializeToString()
