"""Parameter names of Hugging Face and torchvision ViTs -> timm's, which MiniViT uses."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

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
UNUSED = ("embeddings.mask_token", "mask_token", "pooler.", "rope_embed.periods")  # not part of the classifier
PROJECTION_HEAD = ("head.mlp.", "head.last_layer.")  # of DINO's training, which has no classes


def to_timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names; names that match no pattern are kept."""
    patterns = TORCHVISION if "conv_proj.weight" in weights else HUGGING_FACE | OTHER
    used = {name: value for name, value in weights.items() if not name.startswith((*UNUSED, *PROJECTION_HEAD))}
    renamed = {_rename(name, patterns): value for name, value in used.items()}
    for name in [name for name in renamed if ".attn.v." in name]:
        names = [name.replace(".attn.v.", f".attn.{letter}.") for letter in "qkv"]
        if name.endswith(".bias"):  # keys often have none
            renamed = dict.fromkeys(names, torch.zeros_like(renamed[name])) | renamed
        if all(part in renamed for part in names):
            renamed[name.replace(".attn.v.", ".attn.qkv.")] = torch.cat([renamed.pop(part) for part in names])
    for name in [name for name in renamed if name.endswith(".attn.qkv.bias_mask")]:  # 0 for keys, in DINOv3's own
        renamed[name.removesuffix("_mask")] = renamed[name.removesuffix("_mask")] * renamed.pop(name)
    return renamed


def _rename(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name
