"""Ends a worker that cannot react to a command: it compiles, evaluates a large set, decodes a large image, or hangs.

Neither a step of several seconds nor a compiler can be interrupted, but their work need not be saved: the process ends
as if it were killed, and Resume continues from the last position.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from minivit.engine.control import StatusPoller, interrupted_state
from minivit.errors import MiniViTError

PATIENCE = 1.0  # seconds in which the training loop should react to a command
POLL_SECONDS = 0.2  # between two reads of control.json
TERMINATION = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP


@contextmanager
def exit_if_unresponsive(poller: StatusPoller) -> Iterator[None]:
    """Ends this process if training in the block ignores a command to pause or stop for `PATIENCE` seconds.

    SIGTERM and SIGHUP, whose Python handlers run only between two operations, are commands to stop.
    """
    reader, writer = socket.socketpair()
    reader.settimeout(POLL_SECONDS)
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = Thread(target=_watch, args=(poller, reader), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        writer.close()  # ends the thread
        thread.join()
        reader.close()


def _watch(poller: StatusPoller, reader: socket.socket) -> None:
    received: bytes | None = None
    since = float("inf")  # when the command was first read
    while received != b"":
        try:
            received = reader.recv(64)
        except TimeoutError:
            received = None
        if TERMINATION & set(received or b""):
            poller.run.request("stop")
        if poller.run.requested_command() not in ("pause", "stop"):
            since = float("inf")
            continue
        since = min(since, time.monotonic())
        if time.monotonic() - since > PATIENCE:
            with poller.ending_lock:
                if not poller.is_ending:
                    _exit(poller)


def _exit(poller: StatusPoller) -> None:
    run = poller.run
    command = run.requested_command() or "stop"
    poller.group.report_command(command)
    with suppress(MiniViTError, OSError):
        poller.save_position()
    with suppress(MiniViTError):
        run.set_state(*interrupted_state(command, run.state.epoch))
    print(f"{command} requested: ended without waiting for the current operation", flush=True)
    sys.stderr.flush()
    os._exit(0)
