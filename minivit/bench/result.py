"""One figure that was measured, and tables of them."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minivit.errors import ConfigError
from minivit.machine import num_cores


class Figure(NamedTuple):
    """A value with its unit, what it should be, and how it came about."""

    name: str
    value: float
    unit: str
    aim: str = ""
    note: str = ""


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, a line each."""
    rows = [(one.name, f"{one.value:,.4g} {one.unit}".strip(), one.aim, one.note) for one in figures]
    rows.insert(0, ("what", "measured", "aim", "how"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows
    )


def write_json(figures: Sequence[Figure], path: Path) -> None:
    """Machine and figures in a file; ConfigError where it cannot be written."""
    machine: dict[str, Any] = {"cores": num_cores(), "machine": platform.machine(), "system": platform.platform()}
    machine |= {"python": platform.python_version(), "torch": torch.__version__}
    try:
        path.write_text(
            json.dumps({"machine": machine, "figures": [one._asdict() for one in figures]}, indent=2) + "\n"
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another file.") from None
