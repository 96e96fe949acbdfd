"""One figure that was measured."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A value with its unit, what it should be, and how it came about."""

    name: str
    value: float
    unit: str
    aim: str = ""
    note: str = ""
