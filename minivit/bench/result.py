"""A measured figure, and a table or a file of many."""

import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minivit.errors import ConfigError
from minivit.machine import num_cores

Log = Callable[[str], None]


class Figure(NamedTuple):
    """A measured value with its unit, its target, and how it was measured."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, one per line."""
    rows = [
        (figure.name, f"{figure.value:,.4g} {figure.unit}".strip(), figure.target, figure.note) for figure in figures
    ]
    rows.insert(0, ("figure", "measured", "target", "note"))
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
            json.dumps({"machine": machine, "figures": [figure._asdict() for figure in figures]}, indent=2) + "\n"
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another file.") from None
