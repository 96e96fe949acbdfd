"""Several runs side by side: the settings in which they differ, short names, curves, and export as CSV and JSON."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from minivit.config import Setting, TrainConfig, settings
from minivit.runs.editing import read_annotations
from minivit.runs.run import Run
from minivit.runs.summary import summarize

Axis = Literal["epoch", "time", "images"]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of a text that spreadsheets would compute
MAX_NAMED_CLASSES = 4
# Two runs with the same values of these settings see the same images.
SAME_IMAGES = (
    "dataset",
    "data_dir",
    "classes",
    "drawing",
    "images_per_class",
    "split",
    "stratify",
    "drop_duplicates",
    "imported",
    "preprocessing",
)


class Curve(NamedTuple):
    """A metric of one run at its epochs; None where it is not defined, as the train loss at epoch 0."""

    x: Sequence[float]
    y: Sequence[float | None]


def different_settings(configs: Sequence[TrainConfig]) -> list[Setting]:
    """The settings in which these configurations differ, in the order of the form."""
    every = (*settings(), *settings("derived"))
    return [setting for setting in every if len({setting.value(config) for config in configs}) > 1]


def image_difference(first: Run, second: Run) -> str:
    """Why two runs cannot be compared image by image: the first setting that makes their test images differ; or ""."""
    for name in SAME_IMAGES:
        values = getattr(first.config, name), getattr(second.config, name)
        if values[0] != values[1]:
            return f"{name.replace('_', ' ')} is {values[0]!r} and {values[1]!r}"
    return ""


def format_value(value: Any) -> str:
    """A setting's value as short text: many classes as their number."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) if len(value) <= MAX_NAMED_CLASSES else f"{len(value)} classes"
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_names(runs: Sequence[Run]) -> dict[str, str]:
    """Unique names by run id: the user's own, else the fewest settings that tell the runs apart, then numbers.

    Settings are added one by one, each time the one that separates most runs; seed and machine come last.
    """
    different = different_settings([run.config for run in runs])
    minor = [setting for setting in different if setting.name == "seed" or setting.group == "machine"]
    selection: list[Setting] = []
    for remaining in ([setting for setting in different if setting not in minor], minor):
        while remaining:
            best = max(remaining, key=lambda setting: _num_distinct(runs, [*selection, setting]))
            if _num_distinct(runs, [*selection, best]) == _num_distinct(runs, selection):
                break
            selection.append(best)
            remaining.remove(best)
    names: dict[str, str] = {}
    for run in runs:
        values = " · ".join(f"{setting.name} {format_value(setting.value(run.config))}" for setting in selection)
        name = run.name or values or ", ".join(run.config.classes[:MAX_NAMED_CLASSES])
        candidates = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
        names[run.id] = next(title for title in candidates if title not in names.values())
    return names


def _num_distinct(runs: Sequence[Run], selection: Sequence[Setting]) -> int:
    return len({tuple(setting.value(run.config) for setting in selection) for run in runs})


def curve(rows: Sequence[Mapping[str, Any]], metric: str, axis: Axis = "epoch") -> Curve:
    """A metric by epoch, by seconds of training, or by training images seen."""
    if axis == "epoch":
        return Curve([row["epoch"] for row in rows], [row[metric] for row in rows])
    steps = ((row["train_seconds"] or 0) * ((row["images_per_second"] or 0) if axis == "images" else 1) for row in rows)
    return Curve(list(itertools.accumulate(steps)), [row[metric] for row in rows])


def facts(run: Run) -> dict[str, Any]:
    """A run as JSON: the last row of its metrics (null before epoch 0), the best accuracy and all settings."""
    state = run.state
    summary = summarize(run)
    annotations = read_annotations(run)
    return {
        "id": run.id,
        "name": run.name,
        "sweep": run.sweep,
        "path": str(run.path),
        "tags": list(annotations.tags),
        "note": annotations.note,
        "favorite": annotations.favorite,
        "state": state.phase,
        "epoch": state.epoch,
        "metrics": summary.last,
        "best_acc": summary.best_acc,
        "config": run.config.model_dump(mode="json"),
    }


def to_json(runs: Iterable[Run], *, with_rows: bool = False) -> str:
    """The facts of runs as JSON; with the metrics of all epochs as `rows`."""
    return json.dumps([facts(run) | ({"rows": run.metrics()} if with_rows else {}) for run in runs], indent=2)


def to_csv(runs: Sequence[Run]) -> str:
    """A line per run: scores, then the settings in which the runs differ, then the other settings."""
    different = different_settings([run.config for run in runs])
    ordered = [*different, *(setting for setting in settings() if setting not in different)]
    rows = []
    for run in runs:
        row = facts(run)
        metrics = row.pop("metrics") or {}
        del row["config"]
        row |= {"tags": tuple(row["tags"])} | {name: metrics.get(name) for name in ("test_acc", "test_loss")}
        rows.append(row | {setting.name: setting.value(run.config) for setting in ordered})
    return _write_csv(rows)


def curves_to_csv(runs: Iterable[Run]) -> str:
    """A line per run and epoch with all metrics."""
    return _write_csv([{"run": run.id, **row} for run in runs for row in run.metrics()])


def _write_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    if rows:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _as_text(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _as_text(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula, as an imported run's name could be one; a tuple as JSON."""
    value = json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
