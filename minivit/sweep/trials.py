"""What is known about the trials of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TrialPhase = Literal["waiting", "running", "done", "pruned", "failed"]


@dataclass(frozen=True)
class TrialInfo:
    """One trial. `curve` is its test accuracy by epoch, from epoch 0."""

    number: int
    phase: TrialPhase
    params: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    run_id: str = ""
    is_local: bool = False  # whether its run folder is on this machine
    message: str = ""
    retried: bool = False

    @property
    def accuracy(self) -> float | None:
        """The test accuracy after the last complete epoch; None before the first."""
        epochs = [epoch for epoch in self.curve if epoch]
        return self.curve[max(epochs)] if epochs else None


def best_trial(trials: Sequence[TrialInfo]) -> TrialInfo | None:
    """The trial with the highest accuracy among those that are done."""
    done = [trial for trial in trials if trial.phase == "done" and trial.accuracy is not None]
    return max(done, key=lambda trial: (trial.accuracy or 0, -trial.number), default=None)


def format_params(params: Mapping[str, Any]) -> str:
    """Settings as a user would type them: `lr=0.0003 depth=2`."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={value}" for name, value in values.items())
