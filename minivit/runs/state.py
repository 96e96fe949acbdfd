"""What a run is doing: its phase, and the commands that a user gives its worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

Phase = Literal["queued", "loading", "training", "paused", "stopped", "failed", "done"]
Command = Literal["pause", "resume", "stop"]


@dataclass(frozen=True)
class State:
    """The content of `state.json`. `epoch` is the last complete one; `progress` is 0..1 within the current phase."""

    phase: Phase
    epoch: int = 0
    message: str = ""
    progress: float = 0.0
    updated: float = 0.0  # seconds since 1970

    @property
    def active(self) -> bool:
        """Whether a worker is training the run or about to start."""
        return self.phase in ("queued", "loading", "training")


_STATE = TypeAdapter(State)


def parse_state(stored: Mapping[str, Any]) -> State | None:
    """The state that a JSON object holds; None if it is not a valid one."""
    try:
        return _STATE.validate_python(stored)
    except ValidationError:
        return None
