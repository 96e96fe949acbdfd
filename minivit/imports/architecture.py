"""Names and shapes of a timm state dict -> the settings of the same model here, or why there are none."""

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from minivit.config import ViTConfig
from minivit.errors import RunError

HEAD_DIM = 64  # of nearly all published ViTs

# Parts that MiniViT does not have, by a part of their names.
UNSUPPORTED = {
    "reg_token": "register tokens",
    "dist_token": "a distillation token",
    "head_dist": "a distillation head",
    "q_norm": "normalised queries and keys (qk-norm)",
    "mlp.w12": "a SwiGLU feed-forward layer",
    "mlp.fc1_g": "a SwiGLU feed-forward layer",
    "fc_norm": "an average-pool head (fc_norm)",
    "attn_pool": "an attention-pool head",
    "norm_pre": "a LayerNorm before the first block (norm_pre)",
    "rel_pos": "relative positions",
    "patch_embed.backbone": "a convolutional stem",
}
REQUIRED = {
    "cls_token": "class token, so it averages its patches",
    "head.weight": "classifier head",
    "pos_embed": "learned positions",
    "patch_embed.proj.weight": "patch embedding",
    "norm.weight": "last LayerNorm",
}


def read_architecture(
    weights: Mapping[str, Tensor], name: str, num_heads: int = 0, act: Literal["gelu", "relu"] = "gelu"
) -> ViTConfig:
    """The settings of the model that these weights belong to; RunError if MiniViT cannot be that model.

    The shapes do not show the number of heads and the activation. `num_heads` 0 assumes 64 dimensions per head.
    """
    _check_parts(weights, name)
    proj, pos_embed, head = (weights[key] for key in ("patch_embed.proj.weight", "pos_embed", "head.weight"))
    if proj.dim() != 4 or proj.shape[2] != proj.shape[3] or pos_embed.dim() != 3 or head.dim() != 2:
        raise RunError(f"{name} does not have the square patches of a plain ViT. Choose a plain ViT.")
    embed_dim, in_chans, patch_size = proj.shape[:3]
    fc1, fc2 = (weights.get(f"blocks.0.mlp.{layer}.weight") for layer in ("fc1", "fc2"))
    if fc1 is None or fc2 is None or fc1.shape[0] != fc2.shape[1]:
        raise RunError(f"{name} has no plain feed-forward layer (blocks.0.mlp), perhaps SwiGLU. Choose a plain ViT.")
    return ViTConfig(
        img_size=math.isqrt(pos_embed.shape[1]) * patch_size,
        in_chans=in_chans,
        num_classes=len(head),
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=len({key.split(".")[1] for key in weights if key.startswith("blocks.")}),
        num_heads=_num_heads(name, embed_dim, num_heads),
        mlp_ratio=_mlp_ratio(len(fc1), embed_dim),
        norm="pre",
        pos_embed="learned",
        act=act,
    )


def _check_parts(weights: Mapping[str, Tensor], name: str) -> None:
    """RunError that names a part that MiniViT does not have, or one that the weights lack."""
    for key in weights:
        for pattern, part in UNSUPPORTED.items():
            if pattern in key:
                raise RunError(f"{name} has {part}, which MiniViT does not support. Choose a plain ViT.")
    for key, part in REQUIRED.items():
        if key not in weights:
            raise RunError(f"{name} has no {part} ({key}). Choose a ViT classifier of timm.")


def _num_heads(name: str, embed_dim: int, num_heads: int) -> int:
    if not num_heads and embed_dim % HEAD_DIM:
        raise RunError(
            f"The weights of {name} do not show its number of heads, and {HEAD_DIM} dimensions per head do not divide "
            f"its embedding dimension of {embed_dim}. Give the number of heads (--heads)."
        )
    num_heads = num_heads or embed_dim // HEAD_DIM
    if num_heads < 1 or embed_dim % num_heads:
        raise RunError(
            f"{num_heads} heads do not divide the embedding dimension of {embed_dim} of {name}. Give another number."
        )
    return num_heads


def _mlp_ratio(hidden: int, embed_dim: int) -> float:
    """The ratio for which `int(embed_dim * ratio)` is `hidden`, despite rounding."""
    ratio = hidden / embed_dim
    return ratio if int(embed_dim * ratio) == hidden else (hidden + 0.5) / embed_dim
