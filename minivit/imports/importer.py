"""A ViT from timm, Hugging Face or torchvision -> a run folder, to analyze the model on a folder of images.

Epoch 0 of the run is the same architecture with random weights, epoch 1 the model in the file.
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minivit.config import TrainConfig, ViTConfig
from minivit.data import list_classes, load_split
from minivit.data.image_set import Progress
from minivit.errors import RunError
from minivit.files import check_regular
from minivit.imports.architecture import read_architecture
from minivit.imports.convert import (
    bias_to_positions,
    fold_normalization,
    resample_positions,
    scale_tokens,
    to_minivit,
    to_timm_names,
)
from minivit.imports.metadata import Facts, read_facts
from minivit.imports.state_dict import read_state_dict
from minivit.machine import environment
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.runs.files import delete_on_error

# Mean and standard deviation that models are trained with: timm's own ViTs, ImageNet's, and OpenAI's CLIP
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MAX_LISTED = 5  # modules that are left out
TIMM_PATCH_EMBEDDING, TORCHVISION_PATCH_EMBEDDING = "patch_embed.proj.weight", "conv_proj.weight"
IMAGENET_PARTS = {TORCHVISION_PATCH_EMBEDDING, "dist_token", "blocks.0.ls1.gamma"}  # of torchvision, DeiT, DINOv2


@dataclass(frozen=True)
class ImportOptions:
    """User options for an import; None is read from the model's metadata, else assumed.

    `class_names` is a text file with a name per line. `images_per_class` 0 uses all images.
    """

    num_heads: int | None = None
    normalization: str | None = None
    class_names: str | Path | None = None
    images_per_class: int = 0
    act: str | None = None
    img_size: int | None = None
    global_pool: str | None = None  # "token" or "avg"


def import_model(
    path: str | Path,
    data_dir: str | Path,
    options: ImportOptions = ImportOptions(),
    runs_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """A run with the model in a weights file or directory, whose test images are those in `data_dir`.

    Assumptions about the model are stored in the run's `environment["assumed"]`. Class folders whose names are not
    among the model's classes come after its classes; its head does not know them. Raises RunError if the model
    cannot be read or is not supported, ConfigError for sizes beyond MiniViT's bounds, DataError for the images.
    """
    path = Path(path)
    if options.normalization not in (None, *NORMALIZATIONS):
        raise RunError(f"Unknown normalization {options.normalization!r}. Choose one of {', '.join(NORMALIZATIONS)}.")
    tensors, metadata = read_state_dict(path)
    weights = to_timm_names(tensors)
    stored = _read_facts(metadata, path)
    facts = _known(stored, options)
    is_timm, is_torchvision = (key in tensors for key in (TIMM_PATCH_EMBEDDING, TORCHVISION_PATCH_EMBEDDING))
    if not is_timm and not facts.global_pool:  # heads of Hugging Face and torchvision read CLS
        facts = replace(facts, global_pool="token")
    with _explain_shapes(path):
        vit = read_architecture(weights, path.name, facts)
    default = _assumed_normalization(vit, tensors.keys() | weights.keys())
    mean, std = (torch.tensor(values) for values in facts.normalization or NORMALIZATIONS[default])
    if not (std > 0).all():
        raise RunError(
            f"{path.name} has a standard deviation of {std.tolist()!s:.80}. Specify another (--normalization)."
        )
    if len(mean) < vit.in_chans or len(std) < vit.in_chans:
        raise RunError(f"The normalization of {path.name} has {len(mean)} channels, but the model has {vit.in_chans}.")
    head_classes = _class_names(options, facts, vit.num_classes) if vit.num_classes else []
    preprocessing = facts.preprocessing
    with _explain_shapes(path):
        state = to_minivit(weights, vit)
        if stored.token_scale:
            state = _unfold(state, stored, path)
    if facts.img_size and facts.img_size != vit.img_size and (options.img_size or not facts.img_size % vit.patch_size):
        vit = ViTConfig(**vit.model_dump() | {"img_size": facts.img_size})
        antialias = vit.num_registers > 0 or (is_timm and "mask_token" not in tensors)  # of DINOv2's own repository
        state["pos_embed"] = resample_positions(state["pos_embed"], vit.grid, antialias, is_torchvision)
    if facts.img_size not in (None, vit.img_size):
        preprocessing = None
    assumed = _assumptions(vit, options, replace(facts, preprocessing=preprocessing), default)
    assumed += _left_out(metadata["left_out"])
    config = TrainConfig(
        dataset="folder",
        data_dir=str(data_dir),
        classes=(*head_classes, *(name for name in list_classes("folder", data_dir) if name not in head_classes)),
        images_per_class=options.images_per_class,
        imported=True,
        preprocessing=preprocessing,
        model=vit,
        epochs=1,
        device="cpu",
    )
    load_split(config, progress)  # decoded now, so that the first page need not wait
    model = MiniViT(config.model)
    states = [dict(model.state_dict()), state]
    run = Run.create(config, runs_dir)
    buffers = {name: value[: vit.in_chans].view(-1, 1, 1) for name, value in (("mean", mean), ("std", std))}
    facts_of_import = {
        "imported_from": str(path.absolute()),
        "normalization": {"mean": mean.tolist(), "std": std.tolist()},
        "assumed": assumed,
    }
    message = f"Imported from {path.name}; epoch 0 is the same architecture with random weights."
    with delete_on_error(run.path):
        for epoch, state in enumerate(states):
            model.load_state_dict(state | buffers)
            run.save_checkpoint(model, epoch)
        run.set_environment(environment(torch.device("cpu")) | facts_of_import)
        run.rename(path.stem)
        run.set_state("done", 1, " ".join([message, *assumed]))
    return run


def assumptions(run: Run) -> list[str]:
    """The assumptions that were made when the run's model was imported, one sentence each."""
    sentences = run.environment.get("assumed")
    return [line for line in sentences if isinstance(line, str)] if isinstance(sentences, list) else []


def has_class_names(run: Run) -> bool:
    """Whether predictions can be compared with the names of folders."""
    return not any("class names" in line for line in assumptions(run))


def head_class_names(run: Run) -> list[str]:
    """The names of the head's classes; none if they are unknown."""
    return list(run.config.classes[: run.config.model.num_classes]) if has_class_names(run) else []


def num_head_classes(run: Run) -> int:
    """How many of the run's classes the model's head knows; the others are folders of images of other classes."""
    stored = run.environment.get("head_classes")  # of runs whose weights had rows for the others too
    return stored if isinstance(stored, int) else run.config.model.num_classes


def _known(facts: Facts, options: ImportOptions) -> Facts:
    """The facts in the metadata, replaced by those that the user specifies."""
    values: dict[str, Any] = {
        "num_heads": options.num_heads,
        "act": options.act,
        "normalization": NORMALIZATIONS[options.normalization] if options.normalization else None,
        "img_size": options.img_size,
        "global_pool": options.global_pool,
    }
    if options.img_size not in (None, facts.img_size):
        facts = replace(facts, preprocessing=None)
    return replace(facts, **{name: value for name, value in values.items() if value is not None})


def _unfold(state: Mapping[str, Tensor], facts: Facts, path: Path) -> dict[str, Tensor]:
    """The weights of our own export as they were in the model: without normalization and scale of the tokens."""
    assert facts.token_scale and facts.normalization
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    mean, std = (torch.tensor(values)[: weight.shape[1]].view(-1, 1, 1) for values in facts.normalization)
    weight, bias = fold_normalization(weight, bias, -mean / std, 1 / std)
    unfolded = {**state, "patch_embed.proj.weight": weight, "patch_embed.proj.bias": bias}
    if "norm_pre.weight" in state:
        unfolded = bias_to_positions(unfolded)
    unfolded = scale_tokens(unfolded, 1 / facts.token_scale)
    if not all(value.isfinite().all() for value in unfolded.values()):
        raise RunError(f"The metadata of {path} are invalid: they make weights infinite. Export the model again.")
    return unfolded


def _assumed_normalization(vit: ViTConfig, names: Set[str]) -> str:
    """The normalization of a model whose metadata do not specify one: that of CLIP, DINO, or timm's own ViTs."""
    if vit.norm_pre:
        return "clip"
    return "imagenet" if vit.pos_embed == "rotary" or not vit.num_classes or names & IMAGENET_PARTS else "half"


def _assumptions(vit: ViTConfig, options: ImportOptions, facts: Facts, normalization: str) -> list[str]:
    """A sentence for each fact that neither user nor metadata specify, with the option that sets it."""
    lines = []
    if vit.pos_embed == "rotary" and not facts.img_size:
        lines.append(f"Assumed: DINOv3's rotary positions, for images of {vit.img_size} px (--img-size).")
    if not facts.num_heads:
        lines.append(f"Assumed: {vit.num_heads} heads of {vit.embed_dim // vit.num_heads} dimensions (--heads).")
    if not facts.act:
        lines.append("Assumed: the activation GELU (--act).")
    if not facts.normalization:
        lines.append(f"Assumed: the normalization {normalization!r} (--normalization).")
    if vit.num_classes and not facts.global_pool and vit.pool in ("cls", "mean, then norm"):
        tokens = "CLS" if vit.pool == "cls" else "the mean of the patches"
        lines.append(f"Assumed: the head reads {tokens} (--global-pool).")
    if not facts.preprocessing and not facts.token_scale:
        lines.append(
            f"Assumed: images are cropped to their central square and resized to {vit.img_size} px "
            "(preprocessor_config.json)."
        )
    if vit.num_classes and not (options.class_names or facts.class_names):
        lines.append('Assumed: the class names "class 0", "class 1", … (--class-names).')
    return lines


def _left_out(names: Sequence[str]) -> list[str]:
    """A sentence about the tensors of a checkpoint that are not part of its ViT."""
    modules = list(dict.fromkeys(name.split(".")[0] for name in names))
    listed = ", ".join(modules[:MAX_LISTED]) + (" …" if len(modules) > MAX_LISTED else "")
    return [f"Left out, as not part of the ViT: {listed}."] if names else []


def _read_facts(metadata: Mapping[str, Any], path: Path) -> Facts:
    try:
        return read_facts(metadata)
    except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
        raise RunError(f"The metadata of {path} are invalid ({error}). Import the weights file alone.") from None


@contextmanager
def _explain_shapes(path: Path) -> Iterator[None]:
    """Converts errors about tensors of other shapes than those of a ViT, raised in the block, to RunError."""
    try:
        yield
    except (IndexError, RuntimeError, ZeroDivisionError) as error:
        raise RunError(
            f"The weights in {path} do not have the shapes of a ViT ({error}). Choose a plain ViT."
        ) from None


def _class_names(options: ImportOptions, facts: Facts, num_classes: int) -> list[str]:
    if options.class_names or not facts.class_names:
        return read_class_names(options.class_names, num_classes)
    if len(facts.class_names) != num_classes:
        raise RunError(
            f"The model's metadata list {len(facts.class_names)} classes, but its head has {num_classes}. "
            "List them in a file (--class-names)."
        )
    return _unique(facts.class_names)


def read_class_names(path: str | Path | None, num_classes: int) -> list[str]:
    """Names of the model's classes: the lines of a text file, or "class 0", …. Repeated names get a number."""
    if not path:
        return [f"class {index}" for index in range(num_classes)]
    try:
        check_regular(Path(path).stat().st_mode, path)
        content = Path(path).read_bytes()  # with or without a byte order mark, and in UTF-16 of PowerShell
        lines = content.decode("utf-16" if content.startswith(UTF_16_MARKS) else "utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"The class names in {path} cannot be read: {error}.") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes:
        raise RunError(f"{path} lists {len(names)} classes, but the model has {num_classes}. Write one name per line.")
    return _unique(names)


def _unique(names: Sequence[str]) -> list[str]:
    """The names; a repeated one gets the smallest number from 2 that makes it differ from all others."""
    taken, seen, unique = set(names), set[str](), list[str]()
    numbers = {name: count(2) for name in names}
    for name in names:
        free = (new for number in numbers[name] if (new := f"{name} ({number})") not in taken)
        unique.append(next(free) if name in seen else name)
        seen.add(name)
    return unique
