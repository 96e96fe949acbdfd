"""Trainings in processes that are killed at a random time, or just before a random change of their run folder.

A process is forked from one that has imported torch and done nothing else, so a tiny training takes half a second.
"""

import ctypes
import multiprocessing
import os
import pkgutil
import random
import resource
import runpy
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from itertools import count
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryFile

import torch

from minivit import worker
from minivit.errors import MiniViTError
from minivit.processes import PROJECT
from minivit.runs import Run

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "torch.distributed", "tests.faults.killing"])
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.truncate")  # what Python reports before it is done
DEADLINE = 60.0  # seconds, for a training
PATIENCE = 5.0  # seconds, for processes whose peer was killed, until they are too


def train_in_fork(
    run_dir: str, environment: Mapping[str, str], kill_at: int = 0, hold: str = "", max_bytes: int = 0
) -> None:
    """Trains the run as a worker; kills this process before the `kill_at`-th use of a file in its folder, 0 never.

    `hold` names a function, and after a space at which call it does not return; a file `<run_dir>.held` says when.
    """
    os.environ.update(environment)
    output = os.open(f"{run_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    uses = count(1)
    if max_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    def kill(event: str, arguments: Sequence[object]) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(run_dir) and next(uses) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    if hold:
        hold_at(*hold.split(), marker=Path(f"{run_dir}.held"))
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]  # as `python -u`
    os._exit(worker.main(run_dir))


def hold_at(name: str, call: str, marker: Path) -> None:
    """Lets the function compute for minutes at a call, where no Python code runs; earlier calls take half a second."""
    owner, attribute = name.rsplit(".", 1)
    place = pkgutil.resolve_name(owner)
    original, calls = getattr(place, attribute), count(1)

    def held(*arguments: object, **named: object) -> object:
        if next(calls) == int(call):
            marker.touch()
            torch.linalg.eigvals(torch.rand(6000, 6000))
        time.sleep(0.5)
        return original(*arguments, **named)

    setattr(place, attribute, held)


def start(run: Run, kill_at: int = 0, victim: int = 0, hold: str = "", max_bytes: int = 0) -> list[BaseProcess]:
    """Starts as many processes as the run has devices; `kill_at` is for that of rank `victim`."""
    environment = {name: text for name, text in os.environ.items() if name.startswith(("MINIVIT_", "TORCH", "CXX"))}
    processes = []
    devices = run.config.devices
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    for rank in range(devices):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": devices, "LOCAL_WORLD_SIZE": devices}
        group = {name: str(value) for name, value in place.items()} | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": run.id,
        }
        arguments = (
            str(run.path),
            environment | (group if devices > 1 else {}),
            kill_at * (rank == victim),
            hold,
            max_bytes,
        )
        processes.append(CONTEXT.Process(target=train_in_fork, args=arguments))
        processes[-1].start()
    return processes


def warm_up() -> None:
    """Waits until the server that forks has imported torch: from then on a process trains at once."""
    process = CONTEXT.Process(target=print)
    process.start()
    process.join()


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


def kill_once(run: Run, rng: random.Random, seconds: float, uses: int) -> str:
    """Trains the run until a SIGKILL whose point `rng` chooses; returns what was done, empty if training was faster."""
    victim = rng.randrange(run.config.devices)
    if rng.random() < 0.5:
        kill_at = rng.randint(1, uses)
        codes = finish(start(run, kill_at, victim))
        done = f"use {kill_at} of a file"
    else:
        after = rng.uniform(0, seconds)
        processes = start(run)
        processes[victim].join(after)
        processes[victim].kill()
        codes = finish(processes)
        done = f"after {after:.3f} s"
    return f"{done}, process {victim}" if codes[victim] == -signal.SIGKILL else ""


def call_in_fork(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cwd: Path = PROJECT,
    gone: bool = False,
    python: str = "",
) -> tuple[int | None, str]:
    """Exit code and output of `python -m minivit command`, or of Python code, as a user who is bound by permissions.

    Empty variables of the environment are removed; `gone` deletes the cwd.
    """
    with TemporaryFile() as output:
        # as a path, since a forked process of the server has none of our files
        arguments = (
            list(command),
            dict(environment or {}),
            str(cwd),
            gone,
            python,
            f"/proc/{os.getpid()}/fd/{output.fileno()}",
        )
        process = CONTEXT.Process(target=_call, args=arguments)
        process.start()
        finish([process])
        output.seek(0)
        return process.exitcode, output.read().decode(errors="replace")


def obey_permissions() -> None:
    """Takes the right to write what is read-only from root, also for programs that this process executes."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def _call(command: list[str], environment: dict[str, str], cwd: str, gone: bool, python: str, output: str) -> None:
    for number in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), number)
    for name, text in environment.items():
        os.environ.pop(name, None)
        os.environ |= {name: text} if text else {}
    tempfile.tempdir = None
    os.chdir(cwd)
    if gone:
        Path(cwd).rmdir()
    obey_permissions()
    code: object = 1
    try:
        if python:
            exec(python, {"__name__": "__main__"})
            code = 0
        else:
            sys.argv = ["minivit", *command]
            runpy.run_module("minivit", run_name="__main__")
    except SystemExit as error:
        code = error.code
    except MiniViTError as error:
        print(error)
        code = 2
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 0)
