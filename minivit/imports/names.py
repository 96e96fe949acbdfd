"""Parameter names of Hugging Face and torchvision ViTs -> timm's, which MiniViT uses."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Patterns in the order in which they are tried; transformers 5 renamed parameters, but saves the older names
HUGGING_FACE = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.distillation_token": "dist_token",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.(.+)": r"patch_embed.proj.\1",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:attention\.)?attention\.(?:query|q_proj)\.(.+)": r"blocks.\1.attn.q.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:attention\.)?attention\.(?:key|k_proj)\.(.+)": r"blocks.\1.attn.k.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:attention\.)?attention\.(?:value|v_proj)\.(.+)": r"blocks.\1.attn.v.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.attention\.(?:output\.dense|o_proj)\.(.+)": r"blocks.\1.attn.proj.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:layernorm_before|norm1)\.(.+)": r"blocks.\1.norm1.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:layernorm_after|norm2)\.(.+)": r"blocks.\1.norm2.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:intermediate\.dense|mlp\.fc1)\.(.+)": r"blocks.\1.mlp.fc1.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.(?:output\.dense|mlp\.fc2)\.(.+)": r"blocks.\1.mlp.fc2.\2",
    r"(?:encoder\.)?layers?\.(\d+)\.layer_scale(\d)\.lambda1": r"blocks.\1.ls\2.gamma",
    r"layernorm\.(.+)": r"norm.\1",
    r"classifier\.(.+)": r"head.\1",
    r"cls_classifier\.(.+)": r"head.\1",
    r"distillation_classifier\.(.+)": r"head_dist.\1",
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
    r"heads\.head\.(.+)": r"head.\1",
}
# The weight of the patch embedding, which every ViT has, in Hugging Face, timm and torchvision
PATCH_EMBEDDINGS = ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight", "conv_proj.weight")
OTHER = {r"register_tokens": "reg_token"}  # DINOv2's own repository
UNUSED = ("embeddings.mask_token", "mask_token", "pooler.")  # not part of the classifier
PROJECTION_HEAD = ("head.mlp.", "head.last_layer.")  # of DINO's training, which has no classes


def to_timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names; names that match no pattern are kept."""
    patterns = TORCHVISION if "conv_proj.weight" in weights else HUGGING_FACE | OTHER
    used = {name: value for name, value in weights.items() if not name.startswith((*UNUSED, *PROJECTION_HEAD))}
    renamed = {_rename(name, patterns): value for name, value in used.items()}
    for name in [name for name in renamed if ".attn.q." in name]:
        parts = [renamed.pop(name.replace(".attn.q.", f".attn.{letter}."), None) for letter in "qkv"]
        if all(part is not None for part in parts):
            renamed[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([part for part in parts if part is not None])
    return renamed


def _rename(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name
