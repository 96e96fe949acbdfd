"""What a training runs on: the device, its queue, the CPU threads, and the facts that `environment.json` keeps."""

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

POLL_SECONDS = 0.1  # how often a training that waits for the device looks again


def pick_device(name: str, number: int = 0, needed: int = 1) -> torch.device:
    """The device of that name, 'auto' being the best there is; ConfigError where this machine has none.

    Where several are `needed`, for as many processes, it is the one of that number; CPU processes share the cores.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if needed > 1:
        there["mps"] = False  # a machine has but one
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        several = f" for {needed} processes" if needed > 1 else ""
        raise ConfigError(f"This machine has no {name} device{several}. Choose 'auto' or 'cpu'.")
    if name != "cuda" or needed == 1:
        return torch.device(name)
    if needed > torch.cuda.device_count():
        raise ConfigError(
            f"{needed} processes on this machine need a GPU each, and it has {torch.cuda.device_count()}. "
            "Choose fewer devices, or the CPU."
        )
    return torch.device(name, number)


def choose_threads(config: TrainConfig, num_processes: int = 1) -> int:
    """CPU threads that suit the work of each of `num_processes` that share batch and cores.

    One for tiny models, whose steps are shorter than waking a second thread.
    """
    if config.threads:
        return config.threads
    images = config.batch_size / num_processes
    numbers = images * (config.model.num_patches + 1) * config.model.embed_dim * config.model.depth
    return 1 if numbers < 1_500_000 else max(1, num_cores() // num_processes)


@contextmanager
def threads_for(config: TrainConfig, num_processes: int = 1) -> Iterator[None]:
    """The CPU threads that suit these settings in each of `num_processes`, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(choose_threads(config, num_processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_slots(device: torch.device) -> int:
    """How many trainings may run side by side: one a core of the CPU, or one a GPU."""
    count = {"cpu": num_cores, "cuda": torch.cuda.device_count}.get(device.type, lambda: 1)()
    return max(1, count)


def slots_needed(config: TrainConfig, device: torch.device, num_processes: int = 1) -> int:
    """Slots that a training fills: a core for each of its threads, or one GPU; of several processes all GPUs.

    For each of them takes the GPU of its own number.
    """
    if device.type == "cpu":
        return num_processes * choose_threads(config, num_processes)
    return 1 if num_processes == 1 else num_slots(device)


@contextmanager
def acquire_device(device: torch.device, waiting: Callable[[], None], num: int | None = None) -> Iterator[torch.device]:
    """Waits until `num` slots of the device are free, all of them by default, and keeps them inside.

    Yields the device to train on; of several GPUs the one whose slot it is. A slot is a lock of the operating system,
    so it is free as soon as its holder dies. One training at a time collects slots and the next ones wait behind it:
    two that need several cannot block each other, and small ones do not overtake a large one for ever.
    `waiting` is called a few times a second meanwhile and may raise to give up.
    """
    folder = Path(os.environ.get("MINIVIT_LOCKS") or tempfile.gettempdir())
    stem = f"minivit-{getattr(os, 'getuid', lambda: 0)()}-{device.type}"
    free = [FileLock(folder / f"{stem}-{number}.lock") for number in range(num_slots(device))]
    slots = list(free)
    with ExitStack() as held:
        with _first_free([FileLock(folder / f"{stem}.lock")], waiting):
            for _ in range(min(num or len(slots), len(slots))):
                slot = _first_free(free, waiting)
                held.callback(slot.release)
                free.remove(slot)
        index = next(number for number, slot in enumerate(slots) if slot.is_locked)
        yield torch.device("cuda", index) if device.type == "cuda" else device


def _first_free(locks: Sequence[FileLock], waiting: Callable[[], None]) -> FileLock:
    """Waits for any of the locks, and returns it held."""
    while True:
        for lock in locks:
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        waiting()
        time.sleep(POLL_SECONDS)


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
