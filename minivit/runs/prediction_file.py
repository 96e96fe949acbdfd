"""Predictions that take long, saved in a run's folder: `predictions/epoch-0012.csv`.

The first line identifies what they were computed from, the second the columns; then a line per test image, in
order, appended while they are computed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivit.errors import RunError
from minivit.runs.files import replace_file, write_error
from minivit.runs.run import Run


class PredictionRows(NamedTuple):
    """The first test images' predictions, (n,) each."""

    predicted: NDArray[Any]  # int64
    confidence: NDArray[Any]  # float32
    loss: NDArray[Any]  # float32


def prediction_path(run: Run, epoch: int) -> Path:
    """The file of the predictions after an epoch."""
    return run.path / "predictions" / f"epoch-{epoch:04}.csv"


def read_predictions(path: Path, source: str) -> PredictionRows:
    """The complete rows of the file; empty if there is no file, or if it was computed from another `source`."""
    try:
        table = np.array([line.split(",") for line in _lines(path, source)], np.float64).reshape(-1, 3)
    except ValueError:  # edited by hand, or damaged
        table = np.empty((0, 3))
    confidence, loss = table[:, 1:].T.astype(np.float32)
    return PredictionRows(table[:, 0].astype(np.int64), confidence, loss)


def open_predictions(path: Path, source: str) -> PredictionRows:
    """Prepares the file for appending, and returns its valid rows; RunError if it cannot be written."""
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    rows = read_predictions(path, source)
    lines = _lines(path, source) if len(rows.predicted) else []
    replace_file(path, "\n".join([_header(source), *lines, ""]).encode())
    return rows


def append_predictions(path: Path, rows: PredictionRows) -> None:
    """Appends rows in one write; RunError if they cannot be written."""
    lines = [f"{index},{confidence:.6g},{loss:.6g}\n" for index, confidence, loss in zip(*rows, strict=True)]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}. Free some disk space.") from None


def _header(source: str) -> str:
    return f"# {source}\npredicted,confidence,loss"


def _lines(path: Path, source: str) -> list[str]:
    """The complete lines below the header, if it has this source; a process may be writing the last one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    header, complete = _header(source) + "\n", text[: text.rfind("\n") + 1]
    return complete.removeprefix(header).splitlines() if complete.startswith(header) else []
