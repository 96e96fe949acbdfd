"""Attention over training: a slider through the saved checkpoints that updates maps and curves in the browser.

F frames of the slider; of each run M checkpoints, B images, S maps an image, G patches along a side.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import isqrt, lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivit.attention.maps import multiples_of_common_uniform, patch_of_cell
from minivit.attention.over_training import MAP_METRICS, AttentionOverTraining
from minivit.figures import SPLIT_COLORS
from minivit.runs import Checkpoint, Run
from pages.parts.components.component import component, packed
from pages.parts.components.inspector import quantized


class RunMaps(NamedTuple):
    """The maps of one run over training, of which its columns show some."""

    run: Run
    over_training: AttentionOverTraining
    heads: Sequence[str]  # names of its S maps


class Column(NamedTuple):
    """A column of maps: a run, one of its S maps, and a checkpoint, or None for the slider's."""

    name: str
    run: int = 0
    map: int = 0
    checkpoint: Checkpoint | None = None
    captioned: bool = True  # whether the prediction is below each map


class Difference(NamedTuple):
    """A last column: one column minus another, by their indices, on a grid that is a multiple of both."""

    column: int
    minus: int


class Opened(NamedTuple):
    """The image that was clicked, and the checkpoint of the slider."""

    image: int
    checkpoint: Checkpoint


def scrub(
    images: NDArray[np.uint8],
    run_maps: Sequence[RunMaps],
    columns: Sequence[Column],
    *,
    key: str,
    labels: Sequence[int],
    titles: Sequence[str],
    scale: tuple[float, float],
    start: Checkpoint,
    num_measured: int,
    difference: Difference | None = None,
) -> Opened | None:
    """Draws player, curves and maps; returns the image that was clicked, or None.

    `images` is (B, C, H, W) with C 1 or 3, `labels` their true classes, `titles` a text each. Maps share the absolute
    `scale` (low, high): attention weights, or for two runs multiples of each run's uniform 1/N, since
    their N may differ. The curves are of `num_measured` test images. The slider starts at the checkpoint in the URL,
    else at `start`, and updates the URL.
    """
    frames = sorted({checkpoint for maps in run_maps for checkpoint in maps.over_training.checkpoints})
    result = component("scrub", "board")(
        key=key,
        data={
            "key": key,
            "images": packed(images.transpose(0, 2, 3, 1)),
            "titles": list(titles),
            "labels": list(labels),
            "classes": list(run_maps[0].run.config.classes),
            "frames": [{"checkpoint": str(checkpoint), "text": _text(checkpoint, run_maps)} for checkpoint in frames],
            "start": frames.index(start),
            "runs": [_run_data(maps, frames, in_multiples=len(run_maps) > 1) for maps in run_maps],
            "columns": [_column_data(column, run_maps) for column in columns],
            "difference": _difference_data(difference, columns, run_maps) if difference else None,
            "charts": charts(run_maps, frames),
            "legend": key_of(run_maps),
            "scale": list(scale),
            "numMeasured": num_measured,
            "settings": {"view": "map", "scale": "absolute", "colormap": "magma", "overlay": 1, "speed": "30"},
        },
        on_opened_change=lambda: None,
    )
    if result.opened is None:
        return None
    return Opened(int(result.opened["image"]), frames[int(result.opened["frame"])])


def charts(run_maps: Sequence[RunMaps], frames: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    """Loss, accuracy and `MAP_METRICS`, with a line for each run or map, and at each frame a value or NaN."""
    alone = len(run_maps) == 1
    data = []
    for title, column, times, unit in (("loss", "loss", 1, ""), ("accuracy", "acc", 100, "%")):
        lines = []
        for i, maps in enumerate(run_maps):
            for split in SPLIT_COLORS if alone else ["test"]:
                by_epoch = _at_epochs(frames, maps.run, f"{split}_{column}", times)
                name, color = (split, SPLIT_COLORS[split]) if alone else (_nth(i), _color(i))
                lines.append(_line(name, color, by_epoch, frames))
        digits = 1 if unit else 3
        data.append({"title": title, "digits": digits, "unit": unit, "help": "", "lines": lines, "numbered": 2})
    for title, help in MAP_METRICS.items():
        lines = []
        for i, maps in enumerate(run_maps):
            for s, values in enumerate(maps.over_training.metrics[title].T):
                by_checkpoint = dict(zip(maps.over_training.checkpoints, values, strict=True))
                lines.append(_line(maps.heads[s] if alone else _nth(i), _color(i, s), by_checkpoint, frames))
        data.append({"title": title, "digits": 3, "unit": "", "help": help, "lines": lines, "numbered": len(run_maps)})
    return data


def _at_epochs(frames: Sequence[Checkpoint], run: Run, name: str, times: float) -> dict[Checkpoint, float]:
    values = {row["epoch"]: row.get(name) for row in run.metrics()}
    at_epochs = {frame: values.get(frame.epoch) for frame in frames if not frame.step}
    return {frame: times * value for frame, value in at_epochs.items() if value is not None}


def _line(name: str, color: str, values: dict[Checkpoint, float], frames: Sequence[Checkpoint]) -> dict[str, Any]:
    at_frames = np.array([values.get(checkpoint, np.nan) for checkpoint in frames], np.float32)
    return {"name": name, "color": color, "values": packed(at_frames)}


def key_of(run_maps: Sequence[RunMaps]) -> list[tuple[str, str]]:
    """The legend of the curves: names and colors."""
    if len(run_maps) > 1:
        return [(_nth(i), _color(i)) for i in range(len(run_maps))]
    run, _, heads = run_maps[0]
    attention = "attention"
    if run.config.model.num_heads > 1:
        attention += f", {heads[0]} over heads" if heads[0] in ("mean", "max") else f" of head {heads[0]}"
    single = [("attention of single heads", _color(0, 1))] if len(heads) > 1 else []
    return [*SPLIT_COLORS.items(), (attention, _color(0)), *single]


def _nth(index: int) -> str:
    return ("first run", "second run")[index]


def _color(run: int, line: int = 0) -> str:
    """The run's color for its first line; single heads are gray beside their mean."""
    if line:
        return "var(--st-gray-color)"
    return ("var(--st-primary-color)", "var(--second)")[run]


def _text(checkpoint: Checkpoint, run_maps: Sequence[RunMaps]) -> str:
    if checkpoint.step or not checkpoint.epoch:
        return " / ".join(dict.fromkeys(maps.run.checkpoint_title(checkpoint) for maps in run_maps))
    longest = max((maps.run.config for maps in run_maps), key=lambda config: config.epochs)
    return longest.epoch_title(checkpoint.epoch)


def _run_data(maps: RunMaps, frames: Sequence[Checkpoint], *, in_multiples: bool) -> dict[str, Any]:
    """The browser's data of one run; `at` has for each frame the last checkpoint that is not after it."""
    over_training = maps.over_training
    values, scales = quantized(over_training.maps)
    num_tokens = over_training.maps.shape[-1] + maps.run.config.model.num_prefix_tokens
    predicts = over_training.probs.shape[-1] > 0  # not without a classifier head
    return {
        "id": maps.run.id,
        "at": [bisect_right(over_training.checkpoints, frame) - 1 for frame in frames],
        "numTokens": num_tokens,
        "times": num_tokens if in_multiples else 1,
        "values": packed(values),
        "scales": packed(scales),
        "average": packed(over_training.mean_map),
        "predicted": packed(over_training.probs.argmax(-1).astype(np.int32)) if predicts else None,
        "confidence": packed(over_training.probs.max(-1)) if predicts else None,
    }


def _column_data(column: Column, run_maps: Sequence[RunMaps]) -> dict[str, Any]:
    checkpoints = run_maps[column.run].over_training.checkpoints
    index = column.checkpoint and checkpoints.index(column.checkpoint)
    return {**column._asdict(), "checkpoint": index}


def _difference_data(difference: Difference, columns: Sequence[Column], run_maps: Sequence[RunMaps]) -> dict[str, Any]:
    """How the browser subtracts: on `grid` × `grid` cells, for each side the patch under a cell and its factor."""
    grids = [isqrt(run_maps[columns[index].run].over_training.maps.shape[-1]) for index in difference]
    cells = lcm(*grids)
    return {
        "columns": list(difference),
        "grid": cells,
        "patches": [packed(patch_of_cell(grid, cells)) for grid in grids],
        "factors": [multiples_of_common_uniform(grid, cells) for grid in grids],
    }
