"""Weights of Hugging Face, torchvision and timm -> MiniViT's: names first, then values.

LayerScale is folded into the layers before it, and optional parts become zeros. The last functions fold into the
weights what an export cannot specify otherwise, and undo that.
D embed_dim, C channels, p patch_size.
"""

import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import ViTConfig
from minivit.errors import RunError
from minivit.model import MiniViT

LAYER = r"(?:encoder\.|model\.)?layers?\.(\d+)\."
# Patterns in the order in which they are tried; transformers 5 renamed parameters, but saves the older names
HUGGING_FACE = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.distillation_token": "dist_token",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)": r"patch_embed.proj.\1",
    rf"{LAYER}(?:attention\.)?attention\.(?:query|q_proj)\.(.+)": r"blocks.\1.attn.q.\2",
    rf"{LAYER}(?:attention\.)?attention\.(?:key|k_proj)\.(.+)": r"blocks.\1.attn.k.\2",
    rf"{LAYER}(?:attention\.)?attention\.(?:value|v_proj)\.(.+)": r"blocks.\1.attn.v.\2",
    rf"{LAYER}attention\.(?:output\.dense|o_proj)\.(.+)": r"blocks.\1.attn.proj.\2",
    rf"{LAYER}(?:layernorm_before|norm1)\.(.+)": r"blocks.\1.norm1.\2",
    rf"{LAYER}(?:layernorm_after|norm2)\.(.+)": r"blocks.\1.norm2.\2",
    rf"{LAYER}(?:intermediate\.dense|mlp\.fc1|mlp\.up_proj)\.(.+)": r"blocks.\1.mlp.fc1.\2",
    rf"{LAYER}(?:output\.dense|mlp\.fc2|mlp\.down_proj)\.(.+)": r"blocks.\1.mlp.fc2.\2",
    rf"{LAYER}layer_scale(\d)\.lambda1": r"blocks.\1.ls\2.gamma",
    r"layernorm\.(.+)": r"norm.\1",
}
TORCHVISION = {
    r"class_token": "cls_token",
    r"conv_proj\.(.+)": r"patch_embed.proj.\1",
    r"encoder\.pos_embedding": "pos_embed",
    r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(.+)": r"blocks.\1.norm\2.\3",
    r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(.+)": r"blocks.\1.attn.qkv.\2",
    r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(.+)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(.+)": r"blocks.\1.mlp.fc1.\2",
    r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(.+)": r"blocks.\1.mlp.fc2.\2",
    r"encoder\.ln\.(.+)": r"norm.\1",
}
# The weight of the patch embedding, which every ViT has, in Hugging Face, timm and torchvision
PATCH_EMBEDDINGS = (
    *("embeddings.patch_embeddings.projection.weight", "embeddings.patch_embeddings.weight"),
    *("patch_embed.proj.weight", "conv_proj.weight"),
)
OTHER = {
    r"(?:register|storage)_tokens": "reg_token",  # the repositories of DINOv2 and DINOv3
    r"blocks\.(\d+)\.gamma_([12])": r"blocks.\1.ls\2.gamma",  # timm's Eva
    r"blocks\.(\d+)\.attn\.([qv])_bias": r"blocks.\1.attn.\2.bias",
    r"blocks\.(\d+)\.attn\.([qkv])_proj\.(.+)": r"blocks.\1.attn.\2.\3",
}
HEADS = {  # a linear layer, also in place of a library's own, or last in an nn.Sequential
    r"(?:heads?|heads\.head|fc|linear_head|classifier|cls_classifier)(?:\.\d+)?\.(weight|bias)": r"head.\1",
    r"(?:head_dist|distillation_classifier)(?:\.\d+)?\.(weight|bias)": r"head_dist.\1",
}
CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.)")  # of blocks, as DINOv2 is trained
UNUSED = ("embeddings.mask_token", "mask_token", "pooler.", "rope_embed.periods")  # not part of the classifier
PROJECTION_HEAD = ("head.mlp.", "head.last_layer.")  # of DINO's training, which has no classes


def to_timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names; names that match no pattern are kept. RunError for two heads."""
    patterns = (TORCHVISION if "conv_proj.weight" in weights else HUGGING_FACE | OTHER) | HEADS
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith((*UNUSED, *PROJECTION_HEAD)):
            continue
        new_name = _rename(CHUNK.sub(r"blocks.", name), patterns)
        if new_name in renamed:
            raise RunError(f"The model has a head of several layers ({name}), which MiniViT lacks. Choose a plain ViT.")
        renamed[new_name] = value
    for name in [name for name in renamed if ".attn.v." in name]:
        names = [name.replace(".attn.v.", f".attn.{letter}.") for letter in "qkv"]
        if name.endswith(".bias"):  # keys often have none
            renamed = dict.fromkeys(names, torch.zeros_like(renamed[name])) | renamed
        if all(part in renamed for part in names):
            renamed[name.replace(".attn.v.", ".attn.qkv.")] = torch.cat([renamed.pop(part) for part in names])
    for name in [name for name in renamed if name.endswith(".attn.qkv.bias_mask")]:  # 0 for keys, in DINOv3's own
        renamed[name.removesuffix("_mask")] = renamed[name.removesuffix("_mask")] * renamed.pop(name)
    return renamed


def has_known_name(name: str) -> bool:
    """Whether `name` is that of a part of a ViT in Hugging Face or torchvision, or of a classification head."""
    return any(re.fullmatch(pattern, name) for pattern in TORCHVISION | HUGGING_FACE | HEADS)


def _rename(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def to_minivit(weights: Mapping[str, Tensor], vit: ViTConfig) -> dict[str, Tensor]:
    """MiniViT's state dict without mean and std.

    Missing biases and a missing position of CLS are 0. Raises RunError for parts that do not match.
    """
    state = split_positions(fold_layer_scale(weights, vit.depth), vit)
    if vit.pool == "cls" and "norm.weight" not in state:  # of one token, LayerNorm is the same before and after pooling
        state = {name.replace("fc_norm.", "norm."): value for name, value in state.items()}
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in MiniViT(vit).state_dict().items() if name not in ("mean", "std")}
    for name, shape in shapes.items():
        if name.endswith(".bias"):
            state.setdefault(name, torch.zeros(shape))
    if missing := sorted(shapes.keys() - state.keys()):
        raise RunError(f"The weights lack {missing[0]}, which MiniViT needs. Choose a plain ViT.")
    if unknown := sorted(state.keys() - shapes.keys()):
        raise RunError(f"The weights have {unknown[0]}, which MiniViT does not support. Choose a plain ViT.")
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise RunError(f"{name} has the shape {tuple(state[name].shape)} instead of {tuple(shape)}.")
    return state


def split_positions(weights: Mapping[str, Tensor], vit: ViTConfig) -> dict[str, Tensor]:
    """The weights with positions of CLS and of the patches alone; those of registers are added to the registers.

    A distillation token becomes the first register.
    """
    state = dict(weights)
    registers = [state.pop(name) for name in ("dist_token", "reg_token") if name in state]
    if vit.num_registers:
        state["reg_token"] = torch.cat(registers, dim=1)
    if vit.pos_embed == "rotary":
        return state
    prefix, patches = state["pos_embed"][:, : -vit.num_patches], state["pos_embed"][:, -vit.num_patches :]
    if registers and prefix.shape[1] == vit.num_prefix_tokens:
        state["reg_token"] = state["reg_token"] + prefix[:, 1:]
        prefix = prefix[:, :1]
    state["pos_embed"] = torch.cat([prefix if prefix.shape[1] else torch.zeros(1, 1, vit.embed_dim), patches], dim=1)
    return state


def resample_positions(pos_embed: Tensor, grid: int, antialias: bool, align_corners: bool = False) -> Tensor:
    """Positions (1, N, D) of CLS and of the patches of any grid -> of grid × grid patches.

    With `antialias` in timm and in Hugging Face's DINOv2 with registers, with `align_corners` in torchvision.
    """
    cls, patches = pos_embed[:, :1], pos_embed[:, 1:]
    old_grid = math.isqrt(patches.shape[1])
    square = patches.unflatten(1, (old_grid, old_grid)).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=align_corners, antialias=antialias)
    return torch.cat([cls, square.flatten(2).mT], dim=1)


def fold_layer_scale(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The weights without LayerScale (2103.17239).

    It multiplies each output of a layer by a constant, so scaling that layer's weight and bias instead is exact.
    """
    state = dict(weights)
    for block in range(depth):
        for scale, layer in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma = state.pop(f"blocks.{block}.{scale}.gamma", torch.tensor(1.0))
            for name in (f"blocks.{block}.{layer}.weight", f"blocks.{block}.{layer}.bias"):
                if name in state:
                    state[name] = (state[name].mT * gamma).mT if state[name].dim() == 2 else state[name] * gamma
    return state


def fold_normalization(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, C, p, p) and bias (D,) of a patch convolution that takes images before (image - mean) / std.

    Exact, as the convolution has no padding: W' = W / std and b' = b - Σ W' · mean, summed in float64.
    """
    folded = weight.double() / std.double()
    shifted = bias.double() - (folded * mean.double()).sum((1, 2, 3))
    return folded.to(weight.dtype), shifted.to(bias.dtype)


def bias_to_positions(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MiniViT's weights with the bias of the patch convolution added to the patches' positions; tokens are the same."""
    pos_embed, bias = weights["pos_embed"].clone(), weights["patch_embed.proj.bias"]
    pos_embed[:, 1:] += bias
    return {**weights, "pos_embed": pos_embed, "patch_embed.proj.bias": torch.zeros_like(bias)}


# Parts of timm's VisionTransformer whose outputs are the tokens that its LayerNorms read
TOKEN_PARTS = re.compile(
    r"cls_token|dist_token|reg_token|pos_embed"
    r"|(?:patch_embed\.proj|norm_pre|blocks\.\d+\.(?:attn\.proj|mlp\.fc2))\.(?:weight|bias)"
)


def scale_tokens(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights of a pre-norm model whose tokens are `scale` times as long between their LayerNorms.

    LayerNorm(scale · x) with an epsilon of scale² · eps is LayerNorm(x) with eps, so another epsilon gives the same
    logits and attention. Queries and keys are scaled too if they are normalized.
    """
    scaled = {name: value * scale if TOKEN_PARTS.fullmatch(name) else value for name, value in weights.items()}
    for name in [name for name in weights if name.endswith("attn.q_norm.weight")]:
        for part in ("qkv.weight", "qkv.bias"):
            q, k, v = weights[name.replace("q_norm.weight", part)].chunk(3)
            scaled[name.replace("q_norm.weight", part)] = torch.cat([q * scale, k * scale, v])
    return scaled
