"""A measurement, and many of them as a table or as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from minivit.errors import ConfigError
from minivit.machine import environment, num_cores


class Measurement(NamedTuple):
    """A measured value with its unit, its target, and how it was measured."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as aligned text, one per line."""
    rows = [("name", "measured", "target", "note")]
    rows += [(name, f"{value:,.4g} {unit}".strip(), target, note) for name, value, unit, target, note in measurements]
    name_width, value_width, target_width = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:3])
    return "\n".join(f"{a:<{name_width}}  {b:<{value_width}}  {c:<{target_width}}  {d}" for a, b, c, d in rows)


def write_json(measurements: Sequence[Measurement], path: Path) -> None:
    """Writes machine and measurements to a file; ConfigError if it cannot be written."""
    content = {
        "machine": environment(torch.device("cpu")) | {"cores": num_cores()},
        "figures": [measurement._asdict() for measurement in measurements],
    }
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Choose another file.") from None
