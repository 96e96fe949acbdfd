"""Trainings in processes that are killed at a random time, or just before a random change of their run folder.

A process is forked from one that has imported torch and done nothing else, so a tiny training takes half a second.
"""

import ctypes
import os
import pkgutil
import random
import resource
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryFile

from minivit import worker
from minivit.errors import MiniViTError
from minivit.processes import PROJECT
from minivit.runs import Run
from tests.forks import environments_of_group, finish, fork

FILE_EVENTS = ("open", "os.rename", "os.remove", "os.truncate")  # what Python reports before it is done


def train(run_dir: str, kill_at: int = 0, hold: str = "", max_bytes: int = 0) -> int:
    """Trains the run as a worker; kills this process before the `kill_at`-th use of a file in its folder, 0 never.

    `hold` names a function, and after a space at which call it does not return; a file `<run_dir>.held` says when.
    """
    uses = count(1)
    if max_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    def kill(event: str, arguments: Sequence[object]) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(run_dir) and next(uses) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    if hold:
        hold_at(*hold.split(), marker=Path(f"{run_dir}.held"))
    return worker.main(run_dir)


def hold_at(name: str, call: str, marker: Path) -> None:
    """Lets the function hang at a call, as in a long computation; earlier calls take half a second."""
    owner, attribute = name.rsplit(".", 1)
    place = pkgutil.resolve_name(owner)
    original, calls = getattr(place, attribute), count(1)

    def held(*arguments: object, **named: object) -> object:
        if next(calls) == int(call):
            marker.touch()
            libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
            for _ in range(2):
                libc.pthread_mutex_lock(lock)  # the second time it waits for itself; no signal ends that
        time.sleep(0.5)
        return original(*arguments, **named)

    setattr(place, attribute, held)


def start(run: Run, kill_at: int = 0, victim: int = 0, hold: str = "", max_bytes: int = 0) -> list[BaseProcess]:
    """Starts as many processes as the run has devices; `kill_at` is for that of rank `victim`."""
    group = environments_of_group(run.id, run.config.devices) if run.config.devices > 1 else [{}]
    return [
        fork(
            train,
            *(str(run.path), kill_at * (rank == victim), hold, max_bytes),
            environment=environment,
            output=f"{run.path}.log",
        )
        for rank, environment in enumerate(group)
    ]


def log_of(run: Run) -> str:
    """The output of the processes that trained a run."""
    return Path(f"{run.path}.log").read_text(encoding="utf-8")


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

    `gone` deletes the cwd.
    """
    with TemporaryFile() as output:
        path = f"/proc/{os.getpid()}/fd/{output.fileno()}"  # since a forked process has none of our files
        arguments = list(command), str(cwd), gone, python
        process = fork(_call, *arguments, environment=environment, output=path)
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


def _call(command: list[str], cwd: str, gone: bool, python: str) -> int:
    os.chdir(cwd)
    if gone:
        Path(cwd).rmdir()
    obey_permissions()
    try:
        if python:
            exec(python, {"__name__": "__main__"})
        else:
            sys.argv = ["minivit", *command]
            runpy.run_module("minivit", run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except MiniViTError as error:
        print(error)
        return 2
    return 0
