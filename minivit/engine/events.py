"""What a training reports while it runs, and how it is interrupted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minivit.data import Progress
from minivit.runs import Command


class Interrupted(Exception):
    """The training was asked to pause or to stop."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.command = command


def ignore(*_: object) -> None:
    """Does nothing with an event."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """The functions that `train` calls to report. By default the log is printed and the rest is ignored."""

    log: Callable[[str], None] = print  # one line of text: each decision and each epoch
    progress: Progress = ignore  # (task, done, total), a few times a second
    epoch_done: Callable[[dict[str, Any]], None] = ignore  # the metrics row of an epoch; may raise Interrupted


PRINT_LOG = Events()
SILENT = Events(log=ignore)
