"""Facts in a model's metadata that its weights do not show: heads, activation, normalization, class names."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivit.config import Preprocessing
from minivit.errors import RunError

Stats = tuple[tuple[float, ...], tuple[float, ...]]
HUB_ACTIVATIONS = {
    "gelu": "gelu",
    "relu": "relu",
    "gelu_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "quickgelu": "quick_gelu",
}
TIMM_CLIP_EPS = 1e-5  # of LayerNorm in timm's CLIP models
DINOV3_BASE = 100.0  # of rotary positions, in all published models
TIMM_INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
TENSOR_INTERPOLATIONS = ("nearest-exact", "lanczos", "bilinear", "bicubic")  # by PIL's enum values; tensors have no box
TIMM_CROP = 0.875  # where a configuration has none
SQUARE_PROCESSORS = ("vit", "deit")  # of Hugging Face, for which a number as size is that of both sides


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
    token_scale: float | None = None  # of our own export, whose weights contain it and the normalization


def read_facts(metadata: Mapping[str, Any]) -> Facts:
    """The facts in the metadata of our own export, or in a config.json from Hugging Face or timm."""
    arguments = _parsed(metadata.get("arguments"))
    if isinstance(arguments, dict):  # our own export; earlier versions wrote only some of it
        channels = 1 if arguments.get("in_chans") == 1 else 3
        stats = _parsed(metadata.get("normalization")) or {}
        preprocessing = _parsed(metadata.get("preprocessing"))
        return Facts(
            _number(arguments.get("num_heads")),
            HUB_ACTIVATIONS.get(str(arguments.get("act_layer"))),
            _stats(stats.get("mean"), stats.get("std")) or ((0.0,) * channels, (1.0,) * channels),
            _names(_parsed(metadata.get("classes"))),
            norm_eps=_parsed(metadata.get("norm_eps")) or 0.0,
            global_pool=_text(arguments.get("global_pool")) or "token",
            preprocessing=Preprocessing.model_validate(preprocessing) if preprocessing else None,
            token_scale=float(_parsed(metadata.get("token_scale")) or 1.0),
        )
    pretrained = metadata.get("pretrained_cfg", metadata if "input_size" in metadata else None)  # the latter is older
    timm = pretrained if isinstance(pretrained, dict) else {}
    preprocessor = metadata.get("preprocessor") or {}
    id2label = metadata.get("id2label")
    labels = id2label if isinstance(id2label, dict) else {}
    names = [labels[key] for key in sorted(labels, key=lambda key: int(key) if str(key).isdecimal() else 0)]
    model_args = metadata.get("model_args")  # of timm
    timm_args = model_args if isinstance(model_args, dict) else {}
    architecture = _text(metadata.get("architecture")) or ""
    model_type = _text(metadata.get("model_type")) or ""
    image_facts = _timm_preprocessing(timm) if timm else _preprocessing(preprocessor, model_type)
    act = (
        metadata.get("hidden_act") or timm_args.get("act_layer") or ("quickgelu" if "quickgelu" in architecture else "")
    )
    default_eps = TIMM_CLIP_EPS if "_clip_" in architecture else 0.0
    default_pool = ("avg" if "_gap_" in architecture else "token") if architecture else None
    if img_size := _number(metadata.get("image_size")):
        image_facts = {"img_size": img_size} | image_facts
    return Facts(
        _number(metadata.get("num_attention_heads") or timm_args.get("num_heads")),
        HUB_ACTIVATIONS.get(str(act), str(act)[:40]) or None,
        _stats(timm.get("mean"), timm.get("std")) or _normalization(preprocessor),
        _names(names or metadata.get("label_names") or timm.get("label_names") or timm.get("labels")),
        norm_eps=eps if isinstance(eps := metadata.get("layer_norm_eps"), float) else default_eps,
        global_pool=_text(metadata.get("global_pool") or timm_args.get("global_pool")) or default_pool,
        rope_base=_rope_base(metadata, architecture),
        architecture=architecture,
        **image_facts,
    )


def _rope_base(metadata: Mapping[str, Any], architecture: str) -> float | None:
    if metadata.get("model_type") == "dinov3_vit":
        base = metadata.get("rope_theta", DINOV3_BASE)
        return float(base) if isinstance(base, int | float) else None
    return DINOV3_BASE if "dinov3" in architecture else None


def _normalization(config: Mapping[str, Any]) -> Stats | None:
    """Mean and standard deviation of pixels 0..1 in Hugging Face's preprocessor_config.json, if it has them."""
    normalizes = config.get("do_normalize", True)
    stats = _stats(config.get("image_mean"), config.get("image_std")) if normalizes else ((0.0,) * 3, (1.0,) * 3)
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1  # of pixels 0..255
    if stats is None or factor == 1 / 255:
        return stats
    mean, std = (tuple(value / (255 * factor) for value in values) for values in stats)
    return mean, std


def _preprocessing(config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """`img_size` and `preprocessing` of Hugging Face's preprocessor_config.json, if it has them.

    RunError for what MiniViT lacks.
    """
    processor = (config.get("image_processor_type") or config.get("feature_extractor_type") or model_type).lower()
    resizes, crop = config.get("do_resize", True), config.get("crop_size") if config.get("do_center_crop") else None
    size = config.get("size") if resizes else None
    if isinstance(size, int):  # as older versions wrote it
        is_square = not crop or processor.startswith(SQUARE_PROCESSORS)
        size = dict.fromkeys(("height", "width") if is_square else ("shortest_edge",), size)
    crop = dict.fromkeys(("height", "width"), crop) if isinstance(crop, int) else crop
    if not (size if resizes else crop) or config.get("crop_pct"):  # of ConvNeXt and others
        return {}
    sides = {name: value for name, value in (size or {}).items() if value}
    crop_sides = set(crop.values()) if crop else set()
    resample = config.get("resample", 2 if processor.startswith("vit") else 3)
    resample = 2 if resample is None else resample
    if (
        sides.keys() not in ({"height", "width"}, {"shortest_edge"}, set())
        or len({*sides.values()}) > 1
        or len(crop_sides) > 1
        or resample not in range(len(TENSOR_INTERPOLATIONS))
    ):
        raise RunError(
            f"The model's preprocessor resizes images to {size!s:.80} by PIL's filter {resample!s:.20} and crops them "
            f"to {crop!s:.80}; MiniViT supports square images and the filters 0 to 3. Choose another model."
        )
    side = next(iter(sides.values()), 0)
    preprocessing = Preprocessing(
        size=side,
        keep_aspect="shortest_edge" in sides,
        interpolation=TENSOR_INTERPOLATIONS[resample],  # type: ignore[arg-type]
        on_tensors=True,
    )
    img_size = next(iter(crop_sides), side if "height" in sides else None)
    return {"img_size": _number(img_size), "preprocessing": preprocessing}


def _timm_preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """`img_size` and `preprocessing` of timm's pretrained_cfg, if it has them."""
    shape, mode, crop_mode = config.get("input_size"), config.get("interpolation"), config.get("crop_mode") or "center"
    crop = config.get("crop_pct") or TIMM_CROP
    img_size = _number(shape[-1]) if isinstance(shape, list | tuple) and len({*shape[1:]}) == 1 else None
    if not img_size or crop_mode not in {"center", "squash"} or not isinstance(crop, int | float) or not 0 < crop <= 1:
        return {}
    settings = {
        "size": math.floor(img_size / crop),
        "keep_aspect": crop_mode == "center",
        "interpolation": mode if mode in TIMM_INTERPOLATIONS else "bicubic",
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
