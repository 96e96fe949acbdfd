"""What a training runs on: the device, its queue, the CPU threads, and the facts that `environment.json` keeps."""

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from minivit.config import TrainConfig
from minivit.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The device of that name, 'auto' being the best there is; ConfigError where this machine has none."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not there[name]:
        raise ConfigError(f"This machine has no {name} device. Choose 'auto' or 'cpu'.")
    return torch.device(name)


def choose_threads(config: TrainConfig) -> int:
    """CPU threads that suit the work: one for tiny models, whose steps are shorter than waking a second thread."""
    if config.threads:
        return config.threads
    numbers = config.batch_size * (config.model.num_patches + 1) * config.model.embed_dim * config.model.depth
    return 1 if numbers < 1_500_000 else os.cpu_count() or 1


@contextmanager
def turn_on(device: torch.device, waiting: Callable[[], None]) -> Iterator[None]:
    """Waits until no other training of this person is on the device, and keeps it inside.

    `waiting` is called a few times a second meanwhile and may raise to give up.
    """
    folder = Path(os.environ.get("MINIVIT_LOCKS") or tempfile.gettempdir())
    user = getattr(os, "getuid", lambda: 0)()
    lock = FileLock(folder / f"minivit-{user}-{device.type}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.3)
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and machine, as `environment.json` keeps them."""
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": sys.argv,
    }
