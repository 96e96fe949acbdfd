"""Names and shapes of a timm state dict -> the settings of the same model in MiniViT, or why it has none."""

import math
from collections.abc import Mapping

from torch import Tensor

from minivit.config import ViTConfig
from minivit.config.vit import Pool
from minivit.errors import RunError
from minivit.imports.metadata import DINOV3_BASE, Facts
from minivit.layers import ACTIVATIONS

HEAD_DIM = 64  # of nearly all published ViTs
WIDTHS_OF_16_HEADS = (1152, 1280, 1408, 1664)  # of the published ViTs that have other dimensions: So400m, H, g, G
ROTARY_IMG_SIZE, ROTARY_NORM_EPS = 224, 1e-5  # of DINOv3
OTHER_ROTARY = ("_rope_", "eva02", "vit_pe_")  # in timm's names of models

# Parts that MiniViT does not support, by a substring of their names
UNSUPPORTED = {
    "mlp.w12": "a SwiGLU feed-forward layer",
    "mlp.w3": "a SwiGLU feed-forward layer",
    "mlp.gate_proj": "a SwiGLU feed-forward layer",
    "mlp.fc1_g": "a SwiGLU feed-forward layer",
    "attn.norm.": "a LayerNorm of the heads' outputs",
    "attn_pool": "an attention-pool head",
    "rel_pos": "relative positions",
    "relative_position": "relative positions",
    "post_layernorm": "the layers of CLIP or SigLIP in transformers",
    "patch_embed.backbone": "a convolutional stem",
}
GLOBAL_POOLS: dict[str, Pool] = {"token": "cls", "avg": "mean"}  # by timm's `global_pool`
REQUIRED = {
    "patch_embed.proj.weight": "patch embedding under a name that ViTs of timm, transformers or torchvision use",
    "cls_token": "class token, so it averages its patches",
    "pos_embed": "learned positions",
}


def read_architecture(weights: Mapping[str, Tensor], name: str, facts: Facts) -> ViTConfig:
    """The settings of the model that these weights belong to; RunError if MiniViT does not support it.

    `facts` are what the shapes do not show. Without them, 64 dimensions per head (16 heads in the largest ViTs) and
    GELU are assumed, and images of 224 px for a model with rotary positions.
    """
    _check_parts(weights, name, facts)
    proj, pos_embed, head = (weights.get(key) for key in ("patch_embed.proj.weight", "pos_embed", "head.weight"))
    assert proj is not None
    if (
        proj.dim() != 4
        or proj.shape[2] != proj.shape[3]
        or (pos_embed is not None and pos_embed.dim() != 3)
        or (head is not None and head.dim() != 2)
    ):
        raise RunError(f"{name} does not have the square patches of a plain ViT. Choose a plain ViT.")
    embed_dim, in_chans, patch_size = proj.shape[:3]
    if in_chans not in (1, 3):
        raise RunError(f"{name} reads images with {in_chans} channels; MiniViT supports 1 or 3. Choose another model.")
    if head is not None and (len(head) < 2 or head.shape[1] not in (embed_dim, 2 * embed_dim)):
        raise RunError(
            f"The head of {name} maps {head.shape[1]} values to {len(head)} logits, and a token has {embed_dim}. "
            "Choose a classifier of at least 2 classes that reads the CLS token, the mean of the patches, or both."
        )
    if facts.act not in (None, *ACTIVATIONS):
        raise RunError(
            f"{name} has the activation {facts.act!r}, which MiniViT lacks. Choose a model with one of "
            f"{', '.join(ACTIVATIONS)}."
        )
    if facts.global_pool not in (None, *GLOBAL_POOLS):
        raise RunError(f"{name} pools its tokens by {facts.global_pool!r}, which MiniViT lacks. Choose a plain ViT.")
    num_registers = sum(weights[key].shape[1] for key in ("dist_token", "reg_token") if key in weights)
    fc1, fc2 = (weights.get(f"blocks.0.mlp.{layer}.weight") for layer in ("fc1", "fc2"))
    if fc1 is None or fc2 is None or fc1.shape[0] != fc2.shape[1]:
        raise RunError(f"{name} has no plain feed-forward layer (blocks.0.mlp), perhaps SwiGLU. Choose a plain ViT.")
    mlp_ratio = len(fc1) / embed_dim
    grid_size = 0 if pos_embed is None else _grid(pos_embed.shape[1], num_registers) * patch_size
    return ViTConfig(
        img_size=grid_size or facts.img_size or ROTARY_IMG_SIZE,
        in_chans=in_chans,
        num_classes=0 if head is None else len(head),
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=len({key.split(".")[1] for key in weights if key.startswith("blocks.")}),
        num_heads=_num_heads(name, embed_dim, facts.num_heads),
        mlp_ratio=mlp_ratio if int(embed_dim * mlp_ratio) == len(fc1) else (len(fc1) + 0.5) / embed_dim,  # rounding
        norm="pre",
        pos_embed="rotary" if pos_embed is None else "learned",
        rope_base=facts.rope_base or DINOV3_BASE,
        act=facts.act or "gelu",  # type: ignore[arg-type]
        num_registers=num_registers,
        pool=_pool(weights, facts.global_pool),
        norm_pre="norm_pre.weight" in weights,
        qk_norm="blocks.0.attn.q_norm.weight" in weights,
        norm_eps=facts.norm_eps or (ROTARY_NORM_EPS if pos_embed is None else 0.0),
    )


def _grid(num_positions: int, num_registers: int) -> int:
    """Patches along a side: positions are those of the patches alone, or also of CLS, or also of the registers."""
    for num_others in (1, 0, 1 + num_registers):
        if math.isqrt(num_positions - num_others) ** 2 == num_positions - num_others:
            return math.isqrt(num_positions - num_others)
    return math.isqrt(num_positions)  # reported when shapes are compared


def _pool(weights: Mapping[str, Tensor], global_pool: str | None) -> Pool:
    head = weights.get("head.weight")
    if head is not None and head.shape[1] == 2 * weights["cls_token"].shape[-1]:
        return "cls and mean"
    if "head_dist.weight" in weights:
        return "cls and distillation"
    if "fc_norm.weight" in weights and global_pool != "token":
        return "mean, then norm"
    return GLOBAL_POOLS[global_pool or "token"]


def has_rotary_positions(weights: Mapping[str, Tensor], facts: Facts) -> bool:
    """Whether this is a DINOv3, by its metadata or, if there are none, by the parts that it has and lacks."""
    has_its_parts = "reg_token" in weights and "blocks.0.ls1.gamma" in weights and not facts.architecture
    return "pos_embed" not in weights and (facts.rope_base is not None or has_its_parts)


def _check_parts(weights: Mapping[str, Tensor], name: str, facts: Facts) -> None:
    """RunError if there is a part that MiniViT does not support, or if a required one is missing."""
    for key in weights:
        for pattern, part in UNSUPPORTED.items():
            if pattern in key:
                raise RunError(f"{name} has {part}, which MiniViT does not support. Choose a plain ViT.")
    if "blocks.0.norm1.weight" in weights and "blocks.0.norm1.bias" not in weights:
        raise RunError(f"{name} has RMSNorm or a LayerNorm without bias, which MiniViT lacks. Choose a plain ViT.")
    if facts.rope_base is None and any(kind in facts.architecture for kind in OTHER_ROTARY):
        raise RunError(f"{name} has rotary positions of another kind than DINOv3's. Choose a plain ViT or DINOv3.")
    for key, part in REQUIRED.items():
        if key not in weights and not (key == "pos_embed" and has_rotary_positions(weights, facts)):
            raise RunError(f"{name} has no {part} ({key}). Choose a timm ViT classifier.")
    if "norm.weight" not in weights and "fc_norm.weight" not in weights:
        raise RunError(f"{name} has no final LayerNorm (norm.weight). Choose a timm ViT classifier.")


def _num_heads(name: str, embed_dim: int, num_heads: int | None) -> int:
    if not num_heads and embed_dim in WIDTHS_OF_16_HEADS:
        return 16
    if not num_heads and embed_dim % HEAD_DIM:
        raise RunError(
            f"The weights of {name} do not show its number of heads, and {HEAD_DIM} dimensions per head do not divide "
            f"its embedding dimension of {embed_dim}. Specify the number of heads (--heads)."
        )
    num_heads = num_heads or embed_dim // HEAD_DIM
    if num_heads < 1 or embed_dim % num_heads:
        raise RunError(
            f"{num_heads} heads do not divide the embedding dimension of {embed_dim} of {name}. Specify another number."
        )
    return num_heads
