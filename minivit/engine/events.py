"""Callbacks through which `train` reports, and the exception that interrupts it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minivit.data import Progress
from minivit.runs import Command


class Interrupted(Exception):
    """A pause or stop was requested."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.command = command


def ignore(*_: object) -> None:
    """Ignores an event."""


def print_line(line: str) -> None:
    """Prints a line; on a full disk it is lost."""
    try:
        print(line, flush=True)
    except BrokenPipeError:  # nobody reads any more
        raise
    except OSError:
        pass


@dataclass(frozen=True, kw_only=True)
class Events:
    """Callbacks of `train`. By default the log is printed and the rest is ignored."""

    log: Callable[[str], None] = print_line  # a line of text per decision and per epoch
    progress: Progress = ignore  # (task, done, total), a few times a second
    epoch_done: Callable[[dict[str, Any]], None] = ignore  # the metrics row of an epoch; may raise Interrupted


PRINT_LOG = Events()
SILENT = Events(log=ignore)
