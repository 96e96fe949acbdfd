"""MiniViT's own data folder, and the images in it that were made once and need not be made again."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minivit.data.image_set import ClassImages

FORMAT_VERSION = 1


def default_data_dir() -> Path:
    """The folder that `MINIVIT_DATA` names, else `data/` in the project."""
    named = os.environ.get("MINIVIT_DATA")
    return Path(named).expanduser() if named else Path(__file__).parents[2] / "data"


def root_of(data_dir: str | Path) -> Path:
    """The folder that `data_dir` means; MiniViT's own where it is empty."""
    return Path(os.path.expanduser(data_dir)) if str(data_dir) else default_data_dir()  # noqa: PTH111, never raises


def digest(*parts: object) -> str:
    """A short hex name for values that JSON can write."""
    return hashlib.sha256(json.dumps([FORMAT_VERSION, *parts]).encode()).hexdigest()[:32]


def cached(name: str, key: str, make: Callable[[], ClassImages]) -> ClassImages:
    """What `make()` gives, kept as `cache/<name>.safetensors` until it is asked for with another `key`.

    `name` says what is asked for, `key` what it was made from, so that a changed folder replaces its file. A file
    that cannot be read is made again, and where none can be written the images are still returned.
    """
    path = default_data_dir() / "cache" / f"{name}.safetensors"
    with suppress(OSError, SafetensorError, LookupError, ValueError):
        return _read(path, key)
    made = make()
    with suppress(OSError, SafetensorError):
        _write(path, key, made)
    return made


def _read(path: Path, key: str) -> ClassImages:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata["key"] != key:
            raise ValueError("made from something else")
        images = file.get_tensor("images")
        masks = file.get_tensor("masks") if "masks" in file.keys() else None  # noqa: SIM118, it is no dict
        return ClassImages(images, masks, tuple(json.loads(metadata["skipped"])))


def _write(path: Path, key: str, made: ClassImages) -> None:
    tensors = {"images": made.images} if made.masks is None else {"images": made.images, "masks": made.masks}
    beside = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, beside, {"key": key, "skipped": json.dumps(made.skipped)})
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
