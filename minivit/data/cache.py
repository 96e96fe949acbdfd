"""MiniViT's data folder, and its cache of images that are decoded or drawn only once."""

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

from minivit.data.image_set import ClassImages, memory_limit
from minivit.errors import DataError
from minivit.files import atomic_write, utf8_name

FORMAT_VERSION = 2
HEADER_BYTES = 1024  # at the beginning of a file, mostly blank


def default_data_dir() -> Path:
    """The folder in `MINIVIT_DATA`, else `data/` in the project."""
    folder = os.environ.get("MINIVIT_DATA")
    return Path(os.path.expanduser(folder)) if folder else Path(__file__).parents[2] / "data"  # noqa: PTH111, never raises


def resolve_data_dir(data_dir: str | Path) -> Path:
    """`data_dir` as a path; MiniViT's own data folder if it is empty."""
    return Path(os.path.expanduser(data_dir)) if str(data_dir) else default_data_dir()  # noqa: PTH111, never raises


def digest(*parts: object) -> str:
    """A short hex name for values that JSON can write."""
    return hashlib.sha256(json.dumps([FORMAT_VERSION, *parts]).encode()).hexdigest()[:32]


def cached(name: str, key: str, make: Callable[[], Iterable[ClassImages]]) -> ClassImages:
    """The images that `make()` yields in chunks, cached as `cache/<name>.safetensors` until `key` changes.

    `name` identifies the images, `key` what they are made from, so that a changed folder replaces its file. Chunks are
    written as they are made and the result is memory-mapped, so the images need not fit into memory. A file that
    cannot be read is made again. If none can be written, the images are kept in memory; DataError if they exceed
    `memory_limit()`.
    """
    path = default_data_dir() / "cache" / f"{name}.safetensors"
    with suppress(OSError, SafetensorError, LookupError, ValueError):
        return _read(path, key)
    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            _fill(file, key, make())
            file.flush()
            os.fsync(file.fileno())  # so that the file is complete even after a power failure
        return _read(path, key)
    return _in_memory(path, make())


def _read(path: Path, key: str) -> ClassImages:
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:  # memory-mapped: pages are read on access
        if (file.metadata() or {})["key"] != key:
            raise ValueError("made from something else")
        masks = file.get_tensor("masks") if "masks" in file.keys() else None  # noqa: SIM118, not a dict
        skipped = json.loads(file.get_tensor("skipped").numpy().tobytes())
        return ClassImages(file.get_tensor("images"), masks, tuple(skipped))


def _fill(file: BinaryIO, key: str, chunks: Iterable[ClassImages]) -> None:
    """Writes a safetensors file, its header last, into reserved space: the counts are known only then."""
    tensors: dict[str, tuple[str, list[int], int]] = {}  # name: type, shape, bytes, in the order of the file
    masks: list[Tensor] = []
    skipped: list[str] = []
    num_images = num_bytes = 0
    file.seek(HEADER_BYTES)
    for chunk in chunks:
        num_images += len(chunk.images)
        num_bytes += file.write(chunk.images.contiguous().numpy().data)
        tensors["images"] = ("U8", [num_images, *chunk.images.shape[1:]], num_bytes)
        masks += [] if chunk.masks is None else [chunk.masks]
        skipped += chunk.skipped
    if masks:
        all_masks = torch.cat(masks)
        tensors["masks"] = ("BOOL", list(all_masks.shape), file.write(all_masks.numpy().data))
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


def _in_memory(path: Path, chunks: Iterable[ClassImages]) -> ClassImages:
    parts: list[ClassImages] = []
    num_bytes = 0
    for chunk in chunks:
        parts.append(chunk)
        num_bytes += chunk.images.nbytes
        if num_bytes > memory_limit():
            raise DataError(
                f"The images exceed the memory limit ({memory_limit() / 1e6:,.0f} MB per split), and the cache folder "
                f"{path.parent} is not writable or is full. Fix its permissions, free disk space, or set MINIVIT_DATA "
                "to another folder."
            )
    masks = [chunk.masks for chunk in parts if chunk.masks is not None]
    return ClassImages(
        torch.cat([chunk.images for chunk in parts]),
        torch.cat(masks) if masks else None,
        tuple(line for chunk in parts for line in chunk.skipped),
    )
