"""A weights file, or a directory written by `save_pretrained` -> tensors by name, and metadata.

Nothing in a file is executed.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from minivit.errors import RunError
from minivit.files import ZIP_ERRORS, check_regular, explain_os_error, open_zip
from minivit.imports.convert import PATCH_EMBEDDINGS
from minivit.runs.checkpoint import read_safetensors

MAX_BYTES = 4 * 2**30  # of a model, which is read into memory
# The files of weights in a directory, in order of preference; an index lists the shards of a model
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Keys of the weights in checkpoints of training scripts; averaged weights are preferred, as in timm
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model", "model_state_dict", "net"),
    *("network", "weights", "params", "teacher", "student", "encoder", "backbone", "module"),
)
MAX_NESTING = 4
MAX_REPEATS = 2  # of each byte in a file as an element of tensors, which can share memory


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, float32 on the CPU, and metadata: of a .safetensors file, or of a directory's config.json.

    A directory's preprocessor_config.json is the entry "preprocessor" of its metadata. RunError if
    the weights are missing, too large, not finite, or not a state dict.
    """
    with explain_os_error(RunError, f"{path} cannot be read", "Check the path."):
        stored, metadata = _read_directory(path) if path.is_dir() else _read_file(path)
    tensors = _unwrap(stored, path)
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            raise RunError(f"{path} contains {name}, which is not a plain tensor. Save the model's state_dict().")
    num_bytes = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    if sum(value.numel() for value in tensors.values()) > MAX_REPEATS * num_bytes:
        raise RunError(f"{path} contains tensors that are larger than the file. Save the model's state_dict().")
    try:
        tensors = {name: value.float() for name, value in tensors.items()}
    except RuntimeError as error:  # of types of a few bits
        raise RunError(f"{path} contains values that cannot be read ({error!s:.200}). Choose other weights.") from None
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise RunError(f"{path} contains NaN or infinite values, in {name}. Choose weights of a successful run.")
    return tensors, metadata


def _read_directory(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    weights = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if weights is None:
        raise RunError(f"{path} contains none of {', '.join(WEIGHT_FILES)}. Choose a file, or the folder of a model.")
    metadata = _read_json(path / "config.json") | {"preprocessor": _read_json(path / "preprocessor_config.json")}
    if weights.suffix != ".json":
        stored, _ = _read_file(weights)
        return stored, metadata
    weight_map = _read_json(weights).get("weight_map")
    shard_names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not shard_names or not all(isinstance(name, str) and Path(name).name == name for name in shard_names):
        raise RunError(f"{weights} does not list the weights files. Download the model again.")
    names = sorted(set(shard_names))
    if missing := [name for name in names if not os.path.isfile(path / name)]:  # noqa: PTH113
        raise RunError(f"{path} lacks {missing[0]:.200}, one of {len(names)} weights files. Download the model again.")
    _check_size(path, sum((path / name).stat().st_size for name in names))
    shards = [_read_file(path / name)[0] for name in names]
    return {name: value for shard in shards for name, value in shard.items()}, metadata


def _read_json(path: Path) -> dict[str, Any]:
    try:
        check_regular(path.stat().st_mode, path)
        stored = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}. Download the model again.") from None
    return stored if isinstance(stored, dict) else {}


def _read_file(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What a file stores, and the metadata of a .safetensors file."""
    try:
        if not path.exists():
            raise RunError(f"There is no file {path}. Check the path.")
        if not path.is_file():
            raise RunError(f"{path} is not a regular file. Choose a weights file.")
        _check_size(path, path.stat().st_size)
        _check_beginning(path)
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        _check_compression(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # often saved with the weights by training scripts
            return torch.load(path, map_location="cpu", weights_only=True), {}
    except RunError:
        raise
    except OSError:
        raise
    except SafetensorError as error:
        raise RunError(
            f"{path} cannot be read; it is empty, cut off or damaged ({error}). Download it again."
        ) from None
    except Exception:  # torch raises exceptions of many types for other files
        raise RunError(
            f"{path} contains no weights that can be read without running code. Save the model's state_dict(), "
            "preferably as .safetensors."
        ) from None


def _check_compression(path: Path) -> None:
    """RunError if the .zip of torch.save is compressed, which it is not by torch, or damaged."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":  # the format of before torch 1.6
            return
        try:
            with open_zip(file) as archive:
                num_bytes = sum(info.file_size for info in archive.infolist())
        except ZIP_ERRORS as error:
            raise RunError(f"{path} is damaged: {error}. Download it again.") from None
    if num_bytes > path.stat().st_size:
        raise RunError(f"{path} is compressed or damaged. Save the model's state_dict() with torch.save.")


def _check_size(path: Path, num_bytes: int) -> None:
    if num_bytes > MAX_BYTES:
        size, limit = num_bytes / 2**30, MAX_BYTES // 2**30
        raise RunError(f"{path} is {size:.1f} GB; the limit is {limit} GB. Choose a smaller model.")


def _check_beginning(path: Path) -> None:
    """RunError if a failed download left something else in place of the weights."""
    with path.open("rb") as file:
        beginning = file.read(512).lstrip().lower()
    if beginning.startswith(b"version https://git-lfs"):
        raise RunError(f"{path} is a Git LFS pointer, not the weights themselves. Run `git lfs pull` in its folder.")
    if beginning.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise RunError(f"{path} is a web page, not weights; the download may require a login. Download it again.")


def _unwrap(stored: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint of a training script, without prefixes."""
    for _ in range(MAX_NESTING):
        if not isinstance(stored, Mapping):
            break
        tensors = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
        if any(_patch_embedding(name) for name in tensors):
            return _without_prefix(tensors)
        inner = (stored[name] for name in WRAPPERS if isinstance(stored.get(name), Mapping) and stored[name])
        stored = next(inner, tensors or None)
        if stored == tensors:
            break
    if isinstance(stored, Mapping) and stored and all(isinstance(value, Tensor) for value in stored.values()):
        return _without_prefix({str(name): value for name, value in stored.items()})
    raise RunError(f"{path} is not a state dict (tensors by name). Save the model's state_dict().")


def _patch_embedding(name: str) -> str | None:
    """The library's name of the patch embedding, if `name` is that name with any prefix; else None."""
    return next((known for known in PATCH_EMBEDDINGS if f".{name}".endswith(f".{known}")), None)


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that wrappers add, such as `module.`, `_orig_mod.` or `backbone.`.

    The prefix is that of the patch embedding's name. Names outside of the backbone, such as that of the head, lose as
    much of it as they have.
    """
    patch_embedding = next((name for name in tensors if _patch_embedding(name)), None)
    if patch_embedding is None:
        return tensors
    prefix = patch_embedding.removesuffix(_patch_embedding(patch_embedding) or "").split(".")[:-1]

    def strip(name: str) -> str:
        parts = name.split(".")
        common = 0
        while common < min(len(prefix), len(parts) - 1) and parts[common] == prefix[common]:
            common += 1
        return ".".join(parts[common:])

    return {strip(name): value for name, value in tensors.items()}
