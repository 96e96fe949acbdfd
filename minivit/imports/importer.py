"""Other people's models: a ViT of timm's `vision_transformer` family, from a file of weights, becomes a run folder.

Its shape is read off the weights, LayerScale is folded into the layers before it, and what MiniViT has no place for is
refused by name. Nothing in the file is ever executed.

Epoch 0 of the run is the same architecture with fresh random weights, epoch 1 the model of the file.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from minivit.config import TrainConfig, ViTConfig
from minivit.data import list_classes, not_a_class
from minivit.errors import RunError
from minivit.machine import environment
from minivit.model import MiniViT
from minivit.runs import Run

# Mean and deviation that images were normalised with, by the name of the choice: timm's own ViTs, and ImageNet's.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
MAX_BYTES = 4 * 2**30  # of a file, which is read into memory whole
HEAD_DIM = 64  # of nearly all published ViTs

# Parts of a state dict that MiniViT has no place for, by a piece of their names.
REFUSED = {
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
NEEDED = {
    "cls_token": "class token, so it averages its patches",
    "head.weight": "classifier head",
    "pos_embed": "learned positions",
    "patch_embed.proj.weight": "patch embedding",
    "norm.weight": "last LayerNorm",
}


def import_model(
    path: str | Path,
    data_dir: str | Path,
    *,
    num_heads: int = 0,
    normalization: str = "half",
    class_names: str | Path | None = None,
    images_per_class: int = 0,
    act: Literal["gelu", "relu"] = "gelu",
    runs_dir: str | Path | None = None,
) -> Run:
    """A run with the model of a `.safetensors` or state-dict file, to be looked at on the images of `data_dir`.

    `num_heads` 0 takes heads of 64 numbers each; it cannot be read off the weights, nor can the activation and the
    normalisation, one of `NORMALIZATIONS`. `class_names` is a text file with a name per line for the head's classes;
    without it they are "class 0", "class 1", …. A folder of images whose name is none of them is shown as no class of
    the model's. Raises RunError for a file without such a model, ConfigError for sizes past MiniViT's bounds, DataError
    for the images.
    """
    path = Path(path)
    if normalization not in NORMALIZATIONS:
        raise RunError(f"There is no normalisation {normalization!r}. Choose one of {', '.join(NORMALIZATIONS)}.")
    weights = read_weights(path)
    vit = read_shape(weights, path.name, num_heads, act)
    head = class_list(vit.num_classes, class_names)
    folders = list_classes("folder", data_dir)
    classes = (*head, *(not_a_class(name) for name in folders if name not in head))
    config = TrainConfig(
        dataset="folder", data_dir=str(data_dir), classes=classes, images_per_class=images_per_class, imported=True,
        model=vit, epochs=1, device="cpu",
    )  # fmt: skip
    model = MiniViT(config.model)
    states = [dict(model.state_dict()), to_minivit(weights, vit, num_extra=len(classes) - len(head))]
    mean, std = (torch.tensor(values[: vit.in_chans]).view(-1, 1, 1) for values in NORMALIZATIONS[normalization])
    run = Run.create(config, runs_dir)
    for epoch, state in enumerate(states):
        model.load_state_dict(state | {"mean": mean, "std": std})
        run.save_checkpoint(model, epoch)
    facts = {"imported_from": str(path.absolute()), "normalization": normalization, "head_classes": len(head)}
    run.set_environment(environment(torch.device("cpu")) | facts)
    run.rename(path.stem)
    run.set_state("done", 1, f"Imported from {path.name}; epoch 0 is the same architecture with random weights.")
    return run


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a state dict that torch saved, as float32 on the CPU.

    Nothing in the file is executed. RunError where it holds no state dict.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{path} has more than {MAX_BYTES // 2**30} GB. Choose a smaller model.")
        if path.suffix == ".safetensors":
            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except Exception:  # whatever torch's reader says to a file that is something else
        raise RunError(
            f"{path} holds no weights that can be read without running code. Save the model's state_dict(), "
            "best as .safetensors."
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise RunError(f"{path} is no state dict of tensors by name. Save the model's state_dict().")
    return {str(name).removeprefix("module."): value.float() for name, value in stored.items()}


def read_shape(
    weights: Mapping[str, Tensor], name: str, num_heads: int = 0, act: Literal["gelu", "relu"] = "gelu"
) -> ViTConfig:
    """The settings of the model that these weights belong to; RunError where MiniViT cannot be that model."""
    refuse_by_name(weights, name)
    proj, positions, head = (weights[key] for key in ("patch_embed.proj.weight", "pos_embed", "head.weight"))
    if proj.dim() != 4 or proj.shape[2] != proj.shape[3] or positions.dim() != 3 or head.dim() != 2:
        raise RunError(f"{name} does not cut square patches as a plain ViT does. Choose a plain ViT.")
    embed_dim, in_chans, patch_size = proj.shape[:3]
    grid = math.isqrt(positions.shape[1])
    depth = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
    fc1, fc2 = (weights.get(f"blocks.0.mlp.{layer}.weight") for layer in ("fc1", "fc2"))
    if fc1 is None or fc2 is None or fc1.shape[0] != fc2.shape[1]:
        raise RunError(f"{name} has no plain feed-forward layer (blocks.0.mlp), perhaps SwiGLU. Choose a plain ViT.")
    if not num_heads and embed_dim % HEAD_DIM:
        raise RunError(
            f"The number of heads of {name} cannot be read off its weights, and heads of {HEAD_DIM} do not divide its "
            f"embed dim of {embed_dim}. Give it (--heads)."
        )
    num_heads = num_heads or embed_dim // HEAD_DIM
    if num_heads < 1 or embed_dim % num_heads:
        raise RunError(f"{num_heads} heads do not divide the embed dim of {embed_dim} of {name}. Give another number.")
    return ViTConfig(
        img_size=grid * patch_size, in_chans=in_chans, num_classes=len(head), patch_size=patch_size,
        embed_dim=embed_dim, depth=depth, num_heads=num_heads, mlp_ratio=_ratio(len(fc1), embed_dim), norm="pre",
        pos_embed="learned", act=act,
    )  # fmt: skip


def refuse_by_name(weights: Mapping[str, Tensor], name: str) -> None:
    """RunError that says what is in a state dict, or is not, that makes it another kind of model than MiniViT's."""
    for key in weights:
        for piece, said in REFUSED.items():
            if piece in key:
                raise RunError(f"{name} has {said}, which MiniViT's model has not. Choose a plain ViT.")
    for key, said in NEEDED.items():
        if key not in weights:
            raise RunError(f"{name} has no {said} ({key}). Choose a ViT classifier of timm's.")


def _ratio(hidden: int, embed_dim: int) -> float:
    """The MLP ratio that gives exactly `hidden` numbers again, whatever floating point does."""
    ratio = hidden / embed_dim
    return ratio if int(embed_dim * ratio) == hidden else (hidden + 0.5) / embed_dim


def to_minivit(weights: Mapping[str, Tensor], vit: ViTConfig, num_extra: int = 0) -> dict[str, Tensor]:
    """timm's weights under MiniViT's names, but for mean and std; `num_extra` classes more that are never predicted.

    LayerScale is folded in. A bias that is left out is 0. Where positions have no row for CLS it gets 0. RunError for a
    part that is left over.
    """
    left = fold_layer_scale(weights, vit.depth)
    if left["pos_embed"].shape[1] == vit.num_patches:
        left["pos_embed"] = torch.cat([torch.zeros(1, 1, vit.embed_dim), left["pos_embed"]], dim=1)
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in MiniViT(vit).state_dict().items() if name not in ("mean", "std")}
    for name, shape in wanted.items():
        if name.endswith(".bias"):
            left.setdefault(name, torch.zeros(shape))
    for name in sorted(wanted.keys() ^ left.keys()):
        verb = "lacks" if name in wanted else "has"
        raise RunError(f"The model {verb} {name}, and MiniViT's {'has it' if name in wanted else 'lacks it'}.")
    for name, shape in wanted.items():
        if left[name].shape != shape:
            raise RunError(f"{name} has the shape {tuple(left[name].shape)}; {tuple(shape)} was expected.")
    left["head.weight"] = torch.cat([left["head.weight"], torch.zeros(num_extra, vit.embed_dim)])
    left["head.bias"] = torch.cat([left["head.bias"], torch.full((num_extra,), -1e4)])  # a probability of exactly 0
    return left


def fold_layer_scale(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The weights without LayerScale (2103.17239), which went into the layers before it.

    It multiplies what a layer puts out, number by number, so in that layer's weight and bias it is exact.
    """
    left = dict(weights)
    for block in range(depth):
        for scale, layer in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma = left.pop(f"blocks.{block}.{scale}.gamma", torch.tensor(1.0))
            for name in (f"blocks.{block}.{layer}.weight", f"blocks.{block}.{layer}.bias"):
                if name in left:
                    left[name] = (left[name].mT * gamma).mT if left[name].dim() == 2 else left[name] * gamma
    return left


def class_list(num_classes: int, path: str | Path | None) -> list[str]:
    """Names of the head's classes: lines of a text file, or "class 0", …. A name that comes again is numbered."""
    if not path:
        return [f"class {number}" for number in range(num_classes)]
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"The class names in {path} cannot be read: {error}.") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes:
        raise RunError(f"{path} names {len(names)} classes, and the model's head has {num_classes}. Give one a line.")
    return [_numbered(name, names[:place].count(name)) for place, name in enumerate(names)]


def _numbered(name: str, times_before: int) -> str:
    return f"{name} ({times_before + 1})" if times_before else name
