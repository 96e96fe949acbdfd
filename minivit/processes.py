"""Processes that outlive this one, and a worker that is ready before there is a run for it. Imports no torch."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

from minivit.files import open_log

PROJECT = Path(__file__).parent.parent
Process = subprocess.Popen[bytes]


def limit_spinning() -> None:
    """Lets OpenMP's threads sleep after they have waited briefly for each other; call it before torch is imported.

    By default they keep their cores busy for milliseconds. Images per second of `strong` on two threads of two cores,
    alone and next to a process that computes all the time: 1,165 and 45 by default, 1,156 and 300 with 10,000 spins,
    1,056 and 577 with none.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def exit_quickly(code: int) -> NoReturn:
    """Ends this process as `sys.exit` does, but does not free its objects: with torch imported, that takes 0.2 s."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and ends those of executors
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # of a full disk, or nobody reads any more
            stream.flush()
    os._exit(code)


def python_path() -> str:
    """PYTHONPATH for processes that import this package from any folder."""
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))


def start_detached(
    module: str,
    *arguments: str,
    log: Path,
    started: Callable[[Process], None] = lambda _: None,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Starts `python -m module arguments…` as a process that outlives this one; its output is appended to `log`.

    A thread calls `started` with the process, and `ended` when it ends, if that is before this one ends. RunError if
    the log cannot be written.
    """
    with open_log(log) as output:
        process = start(module, *arguments, stdin=subprocess.DEVNULL, output=output)
    watch(process, started, ended)


def watch(process: Process, started: Callable[[Process], None], ended: Callable[[], None]) -> None:
    """Calls `started` with the process in a thread, and `ended` when it ends."""

    def wait() -> None:
        started(process)
        process.wait()  # so that it does not become a zombie
        ended()

    threading.Thread(target=wait, daemon=True).start()


def start(module: str, *arguments: str, stdin: int, output: IO[bytes] | int) -> Process:
    """Starts `python -m module arguments…` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-u", "-m", module, *arguments],
        # In the same cwd, as MINIVIT_DATA may be relative to it. The log is UTF-8 on every system, but file names keep
        # the encoding that they have here
        env={**os.environ, "PYTHONPATH": python_path(), "PYTHONIOENCODING": "utf-8:surrogateescape"},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end_group(process: Process) -> None:
    """Kills a process of `start`, and on Unix also those that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.communicate()


class Standby:
    """A worker that has imported torch and waits for its run, which then starts without that delay.

    It reads the run from a pipe, and ends at the pipe's end: when this process ends, however it does. Once it has a
    run it outlives this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_enabled = False  # only a server keeps a worker ready
        self._process: Process | None = None
        self._context: object = None  # in which it was started

    @contextmanager
    def enabled(self) -> Iterator[None]:
        """Lets `prepare` start a worker in the block; one that still waits at the end of the block is ended."""
        self._is_enabled = True
        try:
            yield
        finally:
            self._is_enabled = False
            with self._lock:
                self._discard()

    def prepare(self) -> None:
        """Starts a worker without a run unless one is there or none may be kept ready."""
        with self._lock:
            if self._is_enabled and (self._process is None or self._process.poll() is not None):
                self._context = _context()
                self._process = start("minivit.worker", stdin=subprocess.PIPE, output=subprocess.DEVNULL)

    def take(self, run_dir: str) -> Process | None:
        """Gives the run to the worker that waits; None if there is none, or environment or folder have changed."""
        with self._lock:
            if self._context != _context():
                self._discard()
            process, self._process = self._process, None
        if process and process.stdin:
            with suppress(BrokenPipeError), process.stdin as pipe:  # if it has ended, the caller will see it
                pipe.write(json.dumps(run_dir).encode() + b"\n")
        return process

    def _discard(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None


def _context() -> object:
    """What a process takes over from this one at its start."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}  # which sets some
    return variables, os.getcwd()  # noqa: PTH109, a name to compare


standby = Standby()
