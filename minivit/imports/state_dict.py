"""A file of weights -> tensors by name. Nothing in the file is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from minivit.errors import RunError

MAX_BYTES = 4 * 2**30  # of a file, which is read into memory at once


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file or a state dict saved by torch, as float32 on the CPU.

    Raises RunError if the file holds no state dict or is too large.
    """
    stored = _read(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise RunError(f"{path} is not a state dict, which has tensors by name. Save the model's state_dict().")
    return {str(name).removeprefix("module."): value.float() for name, value in stored.items()}


def _read(path: Path) -> Any:
    try:
        num_bytes = path.stat().st_size
        if num_bytes <= MAX_BYTES:
            if path.suffix == ".safetensors":
                return load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except Exception:  # torch raises many types for a file that is something else
        raise RunError(
            f"{path} holds no weights that can be read without running code. Save the model's state_dict(), "
            "preferably as .safetensors."
        ) from None
    raise RunError(
        f"{path} has {num_bytes / 2**30:.1f} GB; at most {MAX_BYTES // 2**30} are read. Choose a smaller model."
    )
