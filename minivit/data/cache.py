"""MiniViT's own data folder, and the images in it that were made once and need not be made again."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minivit.data.image_set import ClassImages
from minivit.data.memmap import memory_limit
from minivit.errors import DataError
from minivit.files import atomic_write

FORMAT_VERSION = 2
HEADER_BYTES = 1024  # at the beginning of a file, mostly blank


def default_data_dir() -> Path:
    """The folder that `MINIVIT_DATA` names, else `data/` in the project."""
    named = os.environ.get("MINIVIT_DATA")
    return Path(named).expanduser() if named else Path(__file__).parents[2] / "data"


def resolve_data_dir(data_dir: str | Path) -> Path:
    """`data_dir` as a path; MiniViT's own data folder if it is empty."""
    return Path(os.path.expanduser(data_dir)) if str(data_dir) else default_data_dir()  # noqa: PTH111, never raises


def digest(*parts: object) -> str:
    """A short hex name for values that JSON can write."""
    return hashlib.sha256(json.dumps([FORMAT_VERSION, *parts]).encode()).hexdigest()[:32]


def cached(name: str, key: str, make: Callable[[], Iterable[ClassImages]]) -> ClassImages:
    """What `make()` gives piece by piece, kept as `cache/<name>.safetensors` until it is asked for with another `key`.

    `name` says what is asked for, `key` what it was made from, so that a changed folder replaces its file. The images
    that come back are mapped from the file, which is written as its pieces come: neither way needs all of them in
    memory. A file that cannot be read is made again. Where none can be written the images are kept in memory, or
    DataError says that there is no room for them.
    """
    path = default_data_dir() / "cache" / f"{name}.safetensors"
    with suppress(OSError, SafetensorError, LookupError, ValueError):
        return _read(path, key)
    with suppress(OSError, SafetensorError):
        _write(path, key, make())
        return _read(path, key)
    return _in_memory(path, make())


def _read(path: Path, key: str) -> ClassImages:
    with safe_open(path, framework="pt") as file:  # maps: pages come in when they are looked at
        if (file.metadata() or {})["key"] != key:
            raise ValueError("made from something else")
        masks = file.get_tensor("masks") if "masks" in file.keys() else None  # noqa: SIM118, it is no dict
        skipped = json.loads(file.get_tensor("skipped").numpy().tobytes())
        return ClassImages(file.get_tensor("images"), masks, tuple(skipped))


def _write(path: Path, key: str, pieces: Iterable[ClassImages]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        _fill(file, key, pieces)
        file.flush()
        os.fsync(file.fileno())  # after a power cut, too, the name stands for the complete content


def _fill(file: BinaryIO, key: str, pieces: Iterable[ClassImages]) -> None:
    """A safetensors file whose header is written last, into room left for it: only then the counts are known."""
    tensors: dict[str, tuple[str, list[int], int]] = {}  # name: type, shape, bytes, in the order of the file
    masks: list[Tensor] = []
    skipped: list[str] = []
    num_images = num_bytes = 0
    file.seek(HEADER_BYTES)
    for piece in pieces:
        num_images += len(piece.images)
        num_bytes += file.write(_bytes(piece.images))
        tensors["images"] = ("U8", [num_images, *piece.images.shape[1:]], num_bytes)
        masks += [] if piece.masks is None else [piece.masks]
        skipped += piece.skipped
    if masks:
        whole = torch.cat(masks)
        tensors["masks"] = ("BOOL", list(whole.shape), file.write(_bytes(whole)))
    text = json.dumps(skipped).encode()
    tensors["skipped"] = ("U8", [len(text)], file.write(text))

    header: dict[str, Any] = {"__metadata__": {"key": key}}
    end = 0
    for name, (dtype, shape, num_bytes) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + num_bytes]}
        end += num_bytes
    file.seek(0)
    file.write((HEADER_BYTES - 8).to_bytes(8, "little"))
    file.write(json.dumps(header).encode().ljust(HEADER_BYTES - 8))


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().numpy().data


def _in_memory(path: Path, pieces: Iterable[ClassImages]) -> ClassImages:
    kept: list[ClassImages] = []
    num_bytes = 0
    for piece in pieces:
        kept.append(piece)
        num_bytes += piece.images.nbytes
        if num_bytes > memory_limit():
            raise DataError(
                f"The images are too many for the memory ({memory_limit() / 1e6:,.0f} MB are for one part of a data "
                f"set), and {path.parent} cannot keep them. Give permission, make room there, or name another folder "
                "with MINIVIT_DATA."
            )
    masks = [piece.masks for piece in kept if piece.masks is not None]
    return ClassImages(
        torch.cat([piece.images for piece in kept]),
        torch.cat(masks) if masks else None,
        tuple(line for piece in kept for line in piece.skipped),
    )
