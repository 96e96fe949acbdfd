"""What this machine gives: `python -m minivit bench`. It prints a table and can write JSON; nothing here is a test.

reference   the notebook's experiment with the notebook's operations
training    ours beside it, in turns
together    several processes: one training shared, and a sweep's workers side by side
dashboard   pages in a real browser, fifty watchers, a training that is watched
"""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from minivit.bench.result import Figure
from minivit.errors import ConfigError
from minivit.machine import num_cores

__all__ = ["Figure", "table", "write_json"]


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
