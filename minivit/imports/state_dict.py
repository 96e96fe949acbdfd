"""A weights file, or a directory written by `save_pretrained` -> tensors by name, and metadata.

Nothing in a file is executed.
"""

import argparse
import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from minivit.errors import RunError
from minivit.files import ZIP_ERRORS, check_regular, explain_os_error, open_zip
from minivit.imports.convert import PATCH_EMBEDDINGS, has_known_name
from minivit.runs.checkpoint import read_safetensors

MAX_BYTES = 4 * 2**30  # of a model, which is read into memory
# The files of weights in a directory, in order of preference; an index lists the shards of a model
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Keys of the weights in checkpoints of training scripts, in order of preference, after any averaged weights, as in timm
WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "teacher"),
    *("student", "encoder", "backbone", "module"),
)
AVERAGED = r"(?:^|_)(?:ema|swa)(?:_|$)|averag|shadow"  # in such a key or prefix
BUFFERS = ("mean", "std", "n_averaged")  # that training scripts keep beside the layers
MAX_NESTING = 4  # of the weights in a checkpoint
ZIP_MARK, PICKLE_MARK = b"PK\3\4", b"\x80"  # of torch.save, today and before torch 1.6
WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[!?a-z]", re.IGNORECASE)
# Types that training scripts save beside the weights, and that hold nothing but data
SAFE_TYPES: list[Any] = [
    *(argparse.Namespace, list, dict, set, int, float, (lambda *_: {}, "collections.defaultdict")),  # torch fills dicts
    *(PurePosixPath, PureWindowsPath, (PurePosixPath, "pathlib.PosixPath"), (PureWindowsPath, "pathlib.WindowsPath")),
    *(np.dtype, *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64"))),
    *((np.float64(0).__reduce__()[0], f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
]
MAX_REPEATS = 2  # of each byte in a file as an element of tensors, which can share memory


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, float32 on the CPU, and metadata: of a .safetensors file, and of a directory's config.json.

    A directory's preprocessor_config.json is the entry "preprocessor" of its metadata. A file with the name that
    `save_pretrained` gives it belongs to its directory. The entry "left_out" lists the names of tensors that are not
    part of the ViT. RunError if the weights are missing, too large, not finite, or not a state dict.
    """
    with explain_os_error(RunError, f"{path} cannot be read", "Check the path."):
        is_directory = path.is_dir() or path.name in WEIGHT_FILES
        stored, metadata = _read_directory(path) if is_directory else _read_file(path)
    tensors, left_out = _unwrap(stored, path)
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            raise RunError(f"{path} contains {name}, which is not a plain tensor. Save the model's state_dict().")
        if name.endswith((".weight", ".bias")) and not value.is_floating_point():
            dtype = str(value.dtype).removeprefix("torch.")
            raise RunError(f"{path} contains {name} as {dtype}, perhaps quantized. Choose weights that are not.")
    folder = path if path.is_dir() else path.parent
    num_bytes = sum(file.stat().st_size for file in (folder.iterdir() if is_directory else [path]))
    if sum(value.numel() for value in tensors.values()) > MAX_REPEATS * num_bytes:
        raise RunError(f"{path} contains tensors that are larger than the file. Save the model's state_dict().")
    try:
        tensors = {name: value.float() for name, value in tensors.items()}
    except RuntimeError as error:  # of types of a few bits
        raise RunError(f"{path} contains values that cannot be read ({error!s:.200}). Choose other weights.") from None
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise RunError(f"{path} contains NaN or infinite values, in {name}. Choose weights of a successful run.")
    return tensors, metadata | {"left_out": left_out}


def _read_directory(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What a directory, or the file of weights in one, stores, and its configuration."""
    if path.is_dir():
        weights = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    else:
        weights, path = path, path.parent
    if weights is None:
        raise RunError(f"{path} contains none of {', '.join(WEIGHT_FILES)}. Choose a file, or the folder of a model.")
    config, preprocessor = (_read_json(path / name) for name in ("config.json", "preprocessor_config.json"))
    if weights.suffix != ".json":
        stored, metadata = _read_file(weights)
        return stored, metadata | config | {"preprocessor": preprocessor}  # our own export has both
    weight_map = _read_json(weights).get("weight_map")
    shard_names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not shard_names or not all(isinstance(name, str) and Path(name).name == name for name in shard_names):
        raise RunError(f"{weights} does not list the weights files. Download the model again.")
    names = sorted(set(shard_names))
    if missing := [name for name in names if not os.path.isfile(path / name)]:  # noqa: PTH113
        raise RunError(f"{path} lacks {missing[0]:.200}, one of {len(names)} weights files. Download the model again.")
    _check_size(path, sum((path / name).stat().st_size for name in names))
    shards = [_read_file(path / name)[0] for name in names]
    tensors = {name: value for shard in shards for name, value in shard.items()}
    return tensors, config | {"preprocessor": preprocessor}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        check_regular(path.stat().st_mode, path)
        stored = json.loads(path.read_bytes())
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
        beginning = _check_beginning(path)
        is_torch = beginning.startswith((ZIP_MARK, PICKLE_MARK)) and beginning[8:9] != b"{"
        if beginning[8:9] == b"{" or (path.suffix.lower() == ".safetensors" and not is_torch):
            return read_safetensors(path)
        _check_compression(path)
        with torch.serialization.safe_globals(SAFE_TYPES), path.open("rb") as file:  # torch goes by a path's suffix
            return torch.load(file, map_location="cpu", weights_only=True), {}
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
        if file.read(4) != ZIP_MARK:  # the format of before torch 1.6
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


def _check_beginning(path: Path) -> bytes:
    """The first bytes; RunError if a failed download left something else in place of the weights."""
    with path.open("rb") as file:
        beginning = file.read(512)
    if beginning.lstrip().startswith(b"version https://git-lfs"):
        raise RunError(f"{path} is a Git LFS pointer, not the weights themselves. Run `git lfs pull` in its folder.")
    if WEB_PAGE.match(beginning):
        raise RunError(f"{path} is a web page, not weights; the download may require a login. Download it again.")
    return beginning


def _unwrap(stored: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict in a checkpoint of a training script, without prefixes, and the names of what is left out."""
    state_dicts = list(_state_dicts(stored))
    if not state_dicts:
        raise RunError(f"{path} is not a state dict (tensors by name). Save the model's state_dict().")
    ranked = [
        (_rank((*keys, *prefix)), prefix, tensors)
        for keys, tensors in state_dicts
        for prefix in dict.fromkeys(_prefix(name) for name in tensors)
        if prefix is not None
    ]
    if not ranked:  # of another architecture
        return state_dicts[0][1], []
    _, prefix, tensors = min(ranked, key=lambda candidate: candidate[0])
    return _without_prefix(tensors, prefix)


def _state_dicts(stored: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """All dicts of tensors in a nested one, outer ones first, with the keys that lead to them."""
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), stored)])
    seen: set[int] = set()
    while pending:
        keys, value = pending.popleft()
        if not isinstance(value, Mapping) or id(value) in seen or len(keys) > MAX_NESTING:
            continue
        seen.add(id(value))
        if tensors := {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}:
            yield keys, tensors
        pending += [((*keys, str(name)), inner) for name, inner in value.items()]


def _rank(names: Sequence[str]) -> tuple[bool, list[int]]:
    """For sorting keys and prefixes: averaged weights first, then in the order of WRAPPERS."""
    order = [WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS) for name in names]
    return not any(re.search(AVERAGED, name) for name in names), order


def _prefix(name: str) -> tuple[str, ...] | None:
    """What comes before the library's name of the patch embedding, if `name` is that; else None."""
    known = next((known for known in PATCH_EMBEDDINGS if f".{name}".endswith(f".{known}")), None)
    return None if known is None else tuple(name.removesuffix(known).split(".")[:-1])


def _without_prefix(tensors: dict[str, Tensor], prefix: tuple[str, ...]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without the prefix that wrappers add, such as `module.`, `_orig_mod.` or `backbone.`, and the names
    of those that are left out: outside of the backbone, only parts under known names, such as a head, belong to it.
    """
    inside, heads, left_out = {}, {}, []
    for name, value in tensors.items():
        *modules, last = name.split(".")
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(modules, prefix, strict=False)))
        stripped = ".".join([*modules[common:], last])
        if common == len(prefix) and stripped not in BUFFERS:
            inside[stripped] = value
        elif has_known_name(stripped):
            heads[stripped] = value
        else:
            left_out.append(name)
    return heads | inside, left_out
