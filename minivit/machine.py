"""The machine: its devices and the queue for them, CPU threads, and the versions in `environment.json`."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from minivit.config import TrainConfig
from minivit.errors import ConfigError

POLL_SECONDS = 0.1  # between two attempts to acquire a device


def pick_device(name: str, local_rank: int = 0, local_world_size: int = 1) -> torch.device:
    """The device of that name, 'auto' for the best one; ConfigError if this machine does not have it.

    Each of several processes on this machine gets its own GPU; on the CPU they share the cores.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if local_world_size > 1:
        available["mps"] = False  # a machine has only one
    if name == "auto":
        name = next(kind for kind, is_available in available.items() if is_available)
    if not available[name]:
        processes = f" for {local_world_size} processes" if local_world_size > 1 else ""
        raise ConfigError(f"This machine has no {name} device{processes}. Choose 'auto' or 'cpu'.")
    if name != "cuda" or local_world_size == 1:
        return torch.device(name)
    if local_world_size > torch.cuda.device_count():
        raise ConfigError(
            f"{local_world_size} processes on this machine need a GPU each, and it has {torch.cuda.device_count()}. "
            "Choose fewer devices, or the CPU."
        )
    return torch.device(name, local_rank)


def choose_threads(config: TrainConfig, local_world_size: int = 1) -> int:
    """The number of CPU threads for each process of a run; processes share batch and cores.

    One for tiny models, whose steps are shorter than waking a second thread takes.
    """
    if config.threads:
        return config.threads
    is_tiny = num_activations(config) / local_world_size < 1_500_000
    return 1 if is_tiny else max(1, num_cores() // local_world_size)


def num_activations(config: TrainConfig) -> int:
    """Values that the layers of a model pass on for a batch: a measure of the computation in a step."""
    return config.batch_size * config.model.num_tokens * config.model.embed_dim * config.model.depth


def share_cores(config: TrainConfig, num_parallel: int) -> TrainConfig:
    """`config` with its share of the cores as threads, for one of `num_parallel` runs at a time on this machine."""
    share = max(1, num_cores() // num_parallel)
    return config.changed(threads=config.threads or min(choose_threads(config), share))


@contextmanager
def threads_for(config: TrainConfig, local_world_size: int = 1) -> Iterator[None]:
    """Sets torch's number of CPU threads in the block to that of `choose_threads`."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(choose_threads(config, local_world_size))
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_slots(device: torch.device) -> int:
    """How many runs may train in parallel: one per CPU core, or one per GPU."""
    count = {"cpu": num_cores, "cuda": torch.cuda.device_count}.get(device.type, lambda: 1)()
    return max(1, count)


def num_slots_needed(config: TrainConfig, device: torch.device, local_world_size: int = 1) -> int:
    """Slots that a run occupies: a core for each thread, or one GPU; all GPUs if it has several processes."""
    if device.type == "cpu":
        return local_world_size * choose_threads(config, local_world_size)
    return 1 if local_world_size == 1 else num_slots(device)


@contextmanager
def acquire_device(
    device: torch.device, on_wait: Callable[[], None], slots_needed: int | None = None
) -> Iterator[torch.device]:
    """Waits until `slots_needed` slots of the device are free, by default all, and holds them in the block.

    Yields the device to train on; of several GPUs, the one whose slot it holds. A slot is a lock of the operating
    system, so it is free as soon as its holder dies. Only the first run in the queue collects slots: two runs that need
    several cannot deadlock, and small runs do not overtake a large one indefinitely. `on_wait` is called several
    times a second meanwhile and may raise an exception to leave the queue.
    """
    folder = _lock_folder()
    stem = f"minivit-{getattr(os, 'getuid', lambda: 0)()}-{device.type}"
    slots = [FileLock(folder / f"{stem}-{index}.lock") for index in range(num_slots(device))]
    free = list(slots)
    with ExitStack() as stack:
        with _acquire_any([FileLock(folder / f"{stem}.lock")], on_wait):
            for _ in range(min(slots_needed or len(slots), len(slots))):
                slot = _acquire_any(free, on_wait)
                stack.callback(slot.release)
                free.remove(slot)
        index = next(index for index, slot in enumerate(slots) if slot.is_locked)
        yield torch.device("cuda", index) if device.type == "cuda" else device


def _lock_folder() -> Path:
    """`MINIVIT_LOCKS`, else the system's temporary folder; ConfigError if nothing can be written there."""
    folder = os.environ.get("MINIVIT_LOCKS")
    try:
        folder = folder or tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder):
            return Path(folder)
    except OSError as error:
        reason = f"{folder or 'the temporary folder'} cannot be written ({error.strerror})"
        raise ConfigError(f"The device queue needs a folder, but {reason}. Set MINIVIT_LOCKS to another.") from None


def _acquire_any(locks: Sequence[FileLock], on_wait: Callable[[], None]) -> FileLock:
    """Waits for any of the locks, and returns it held."""
    while True:
        for lock in locks:
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        on_wait()
        time.sleep(POLL_SECONDS)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and machine, for `environment.json`."""
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
