"""Weights as safetensors, which cannot run code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minivit.errors import RunError

MAX_HEADER_BYTES = 4 * 2**20  # of a .safetensors file, which takes up to 15 times as much memory


def serialize(model: nn.Module | Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A model's weights, or tensors by name, as the content of a .safetensors file."""
    tensors = model.state_dict() if isinstance(model, nn.Module) else model
    return save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, metadata)


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads the tensors in a file into a model; RunError if they do not match it."""
    try:
        model.load_state_dict(read_safetensors(path)[0], assign=True)
    except (SafetensorError, RuntimeError, OSError):
        raise RunError(f"{path} does not contain the weights of this run's model. Choose another epoch.") from None
    for name, tensor in model.state_dict().items():
        if not torch.stack(torch.aminmax(tensor)).isfinite().all():  # 30 times faster than all values
            raise RunError(f"{path} contains NaN or infinite weights, in {name}. Choose another epoch.")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a file; RunError if it is damaged."""
    try:
        return read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}). Delete it to start the run from its beginning.") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a file; raises SafetensorError and OSError."""
    with path.open("rb") as start:
        if (size := int.from_bytes(start.read(8), "little")) > MAX_HEADER_BYTES:
            raise SafetensorError(f"a header of {size:,} bytes is too large")
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
