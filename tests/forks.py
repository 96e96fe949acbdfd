"""Processes that are forked from one that has imported torch and done nothing else, so that they begin at once."""

import contextlib
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "torch.distributed", "minivit.worker", "optuna.storages", "tests.forks"])
TAKEN_OVER = ("MINIVIT_", "TORCH", "CXX")  # variables of the environment, by how they start
DEADLINE = 150.0  # seconds, for a training
PATIENCE = 5.0  # seconds, for processes whose peer was killed, until they are too


def fork(
    function: Callable[..., int | None],
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    output: str | Path = os.devnull,
) -> BaseProcess:
    """Starts a process that calls a function of a module, and ends with its result as exit code.

    Its output is appended to a file. Empty variables of the environment are removed.
    """
    variables = {name: text for name, text in os.environ.items() if name.startswith(TAKEN_OVER)} | (environment or {})
    process = CONTEXT.Process(target=_call, args=(function, arguments, variables, str(output)))
    process.start()
    return process


def _call(
    function: Callable[..., int | None], arguments: Sequence[object], environment: Mapping[str, str], output: str
) -> None:
    for name, text in environment.items():
        os.environ.pop(name, None)
        os.environ |= {name: text} if text else {}
    tempfile.tempdir = None
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]  # as `python -u`
    try:
        code = function(*arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code or 0)


def environments_of_group(name: str, world_size: int) -> list[dict[str, str]]:
    """What torchrun would add to the environment of each process of a group on this machine."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": name}
    group |= {"WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    return [
        {name: str(value) for name, value in {**group, "RANK": rank, "LOCAL_RANK": rank}.items()}
        for rank in range(world_size)
    ]


def free_port() -> int:
    """A port on which nobody listens, below those that the system gives to connections, which may take it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def warm_up() -> None:
    """Waits until the process that forks has imported torch: from then on a process begins at once."""
    fork(int).join()


def finish(processes: Sequence[BaseProcess]) -> list[int | None]:
    """Waits for the processes; their exit codes. If one fails, the others are ended, as torchrun does."""
    wait([process.sentinel for process in processes], DEADLINE)
    if any(process.exitcode for process in processes):
        for process in processes:
            process.terminate()
    for process in processes:
        process.join(PATIENCE if any(process.exitcode for process in processes) else DEADLINE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes
