"""timm's weights -> MiniViT's: LayerScale folded into the layers before it, what may be missing filled with zeros."""

from collections.abc import Mapping

import torch
from torch import Tensor

from minivit.config import ViTConfig
from minivit.errors import RunError
from minivit.model import MiniViT


def to_minivit(weights: Mapping[str, Tensor], vit: ViTConfig, num_extra: int = 0) -> dict[str, Tensor]:
    """MiniViT's state dict without mean and std; with `num_extra` more classes, which are never predicted.

    Missing biases and a missing position of CLS are 0. Raises RunError for parts that do not match.
    """
    state = fold_layer_scale(weights, vit.depth)
    if state["pos_embed"].shape[1] == vit.num_patches:
        state["pos_embed"] = torch.cat([torch.zeros(1, 1, vit.embed_dim), state["pos_embed"]], dim=1)
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
    state["head.weight"] = torch.cat([state["head.weight"], torch.zeros(num_extra, vit.embed_dim)])
    state["head.bias"] = torch.cat([state["head.bias"], torch.full((num_extra,), -1e4)])  # a probability of exactly 0
    return state


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
