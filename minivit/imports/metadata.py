"""Facts in a model's metadata that its weights do not show: heads, activation, normalization, class names."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivit.config import Preprocessing

Stats = tuple[tuple[float, ...], tuple[float, ...]]
HUB_ACTIVATIONS = {
    "gelu": "gelu",
    "relu": "relu",
    "gelu_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
DINOV3_BASE = 100.0  # of rotary positions, in all published models
INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by PIL's enum values


@dataclass(frozen=True)
class Facts:
    """Facts about a model; those that the metadata lack are None."""

    num_heads: int | None = None
    act: str | None = None
    normalization: Stats | None = None  # mean and standard deviation of each channel
    class_names: tuple[str, ...] | None = None
    norm_eps: float = 0.0  # of LayerNorm; 0 for ours
    global_pool: str | None = None  # by timm's name: "token", "avg", …
    img_size: int | None = None  # that images are cropped to, or that the model is made for
    rope_base: float | None = None  # of DINOv3's rotary positions
    architecture: str = ""  # by timm's name
    preprocessing: Preprocessing | None = None


def read_facts(metadata: Mapping[str, Any]) -> Facts:
    """The facts in the metadata of our own export, or in a config.json from Hugging Face or timm."""
    arguments = _parsed(metadata.get("arguments"))
    if isinstance(arguments, dict):  # our own export, whose normalization is part of the patch embedding
        channels = 1 if arguments.get("in_chans") == 1 else 3
        return Facts(
            _number(arguments.get("num_heads")),
            HUB_ACTIVATIONS.get(str(arguments.get("act_layer"))),
            ((0.0,) * channels, (1.0,) * channels),
            _names(_parsed(metadata.get("classes"))),
            norm_eps=_parsed(metadata.get("norm_eps")) or 0.0,
            global_pool=_text(arguments.get("global_pool")),
        )
    pretrained = metadata.get("pretrained_cfg")
    timm = pretrained if isinstance(pretrained, dict) else {}
    preprocessor = metadata.get("preprocessor") or {}
    id2label = metadata.get("id2label")
    labels = id2label if isinstance(id2label, dict) else {}
    names = [labels[key] for key in sorted(labels, key=lambda key: int(key) if str(key).isdecimal() else 0)]
    model_args = metadata.get("model_args")  # of timm
    timm_args = model_args if isinstance(model_args, dict) else {}
    architecture = _text(metadata.get("architecture")) or ""
    image_facts = _timm_preprocessing(timm) if timm else _preprocessing(preprocessor)
    if img_size := _number(metadata.get("image_size")):
        image_facts = {"img_size": img_size} | image_facts
    return Facts(
        _number(metadata.get("num_attention_heads") or timm_args.get("num_heads")),
        HUB_ACTIVATIONS.get(str(metadata.get("hidden_act") or timm_args.get("act_layer"))),
        _stats(preprocessor.get("image_mean") or timm.get("mean"), preprocessor.get("image_std") or timm.get("std")),
        _names(names or metadata.get("label_names") or timm.get("label_names")),
        norm_eps=eps if isinstance(eps := metadata.get("layer_norm_eps"), float) else 0.0,
        global_pool=_text(metadata.get("global_pool") or timm_args.get("global_pool")),
        rope_base=_rope_base(metadata, architecture),
        architecture=architecture,
        **image_facts,
    )


def _rope_base(metadata: Mapping[str, Any], architecture: str) -> float | None:
    if metadata.get("model_type") == "dinov3_vit":
        base = metadata.get("rope_theta", DINOV3_BASE)
        return float(base) if isinstance(base, int | float) else None
    return DINOV3_BASE if "dinov3" in architecture else None


def _preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """`img_size` and `preprocessing` of Hugging Face's preprocessor_config.json, if it has them."""
    size, crop = config.get("size"), config.get("crop_size") if config.get("do_center_crop") else None
    if isinstance(size, int):  # as older versions wrote it
        size = {"shortest_edge" if crop else "height": size}
    sizes = size if isinstance(size, dict) else {}
    shorter, both = (_number(sizes.get(name)) for name in ("shortest_edge", "height"))
    resample = config.get("resample", 2)
    if not config.get("do_resize", True) or not (side := shorter or both) or resample not in range(len(INTERPOLATIONS)):
        return {}
    settings = {"size": side, "keep_aspect": bool(shorter), "interpolation": INTERPOLATIONS[resample]}
    crop_size = crop.get("height") if isinstance(crop, dict) else crop
    preprocessing = Preprocessing.model_validate(settings | {"on_tensors": True})
    return {"img_size": _number(crop_size) or both, "preprocessing": preprocessing}


def _timm_preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """`img_size` and `preprocessing` of timm's pretrained_cfg, if it has them."""
    shape, crop, mode = config.get("input_size"), config.get("crop_pct"), config.get("interpolation")
    img_size = _number(shape[-1]) if isinstance(shape, list | tuple) and shape else None
    if not img_size or not isinstance(crop, int | float) or not 0 < crop <= 1:
        return {}
    settings = {
        "size": math.floor(img_size / crop),
        "keep_aspect": config.get("crop_mode", "center") != "squash",
        "interpolation": mode if mode in INTERPOLATIONS else "bicubic",
    }
    return {"img_size": img_size, "preprocessing": Preprocessing.model_validate(settings)}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    return value[:40] if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _names(values: Any) -> tuple[str, ...] | None:
    is_list = isinstance(values, list) and values and all(isinstance(value, str) and value for value in values)
    return tuple(values) if is_list else None


def _stats(mean: Any, std: Any) -> Stats | None:
    lists = [value for value in (mean, std) if isinstance(value, list | tuple) and value]
    if len(lists) != 2 or not all(isinstance(number, int | float) for values in lists for number in values):
        return None
    return tuple(map(float, lists[0])), tuple(map(float, lists[1]))
