"""timm weights -> MiniViT weights: LayerScale is folded into the layers before it, optional parts become zeros."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import ViTConfig
from minivit.errors import RunError
from minivit.model import MiniViT


def to_minivit(weights: Mapping[str, Tensor], vit: ViTConfig) -> dict[str, Tensor]:
    """MiniViT's state dict without mean and std.

    Missing biases and a missing position of CLS are 0. Raises RunError for parts that do not match.
    """
    state = split_positions(fold_layer_scale(weights, vit.depth), vit)
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


def resample_positions(pos_embed: Tensor, grid: int, antialias: bool) -> Tensor:
    """Positions (1, N, D) of CLS and of the patches of any grid -> of grid × grid patches.

    As in Hugging Face's DINOv2, with `antialias` only if the model has registers.
    """
    cls, patches = pos_embed[:, :1], pos_embed[:, 1:]
    old_grid = math.isqrt(patches.shape[1])
    square = patches.unflatten(1, (old_grid, old_grid)).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False, antialias=antialias)
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
