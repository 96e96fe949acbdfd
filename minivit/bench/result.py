"""A measured figure, and a table or a file of many."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from minivit.errors import ConfigError
from minivit.machine import environment, num_cores


class Figure(NamedTuple):
    """A measured value with its unit, its target, and how it was measured."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, one per line."""
    rows = [("figure", "measured", "target", "note")]
    rows += [(name, f"{value:,.4g} {unit}".strip(), target, note) for name, value, unit, target, note in figures]
    name_width, value_width, target_width = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:3])
    return "\n".join(f"{a:<{name_width}}  {b:<{value_width}}  {c:<{target_width}}  {d}" for a, b, c, d in rows)


def write_json(figures: Sequence[Figure], path: Path) -> None:
    """Machine and figures in a file; ConfigError where it cannot be written."""
    content = {
        "machine": environment(torch.device("cpu")) | {"cores": num_cores()},
        "figures": [figure._asdict() for figure in figures],
    }
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another file.") from None
