"""The maps that the Compare page draws side by side, their scale, notes on them, and the values of the curves."""

from collections.abc import Sequence
from math import isqrt, lcm
from typing import Any

import streamlit as st

from minivit.attention.over_training import MAP_METRICS
from minivit.runs import Checkpoint, Run
from pages.parts.components.scrub import Column, Difference, RunMaps
from pages.parts.shell import cache
from pages.parts.shell.wording import escape_markdown

SELECTED = "selected checkpoint"
MAX_GRID = 64  # cells along a side of the grid on which two maps are subtracted


def columns(run_maps: Sequence[RunMaps], before: Checkpoint) -> dict[str, Any]:
    """The columns and the difference of `scrub`.

    Of two runs, both at the selected checkpoint, with their difference on a common grid. Of several heads, the mean
    and each head at the selected checkpoint. Else one map before and at the selected checkpoint, with their difference.
    """
    if len(run_maps) == 2:
        both = [Column("first run", run=0), Column("second run", run=1)]
        return {"columns": both, "difference": Difference(1, 0) if _grids(run_maps)[-1] <= MAX_GRID else None}
    names = run_maps[0].heads
    if len(names) > 1:
        heads = [Column(f"head {name}", map=index, captioned=False) for index, name in enumerate(names) if index]
        return {"columns": [Column("mean over heads"), *heads]}
    stages = [Column(run_maps[0].run.checkpoint_title(before), checkpoint=before), Column(SELECTED)]
    return {"columns": stages, "difference": Difference(1, 0)}


def common_scale(runs: Sequence[Run]) -> tuple[float, float]:
    """The absolute scale of one run; of two, the larger one in multiples of each run's uniform attention 1/N."""
    if len(runs) == 1:
        return cache.run_scale(runs[0])
    return 0.0, max(cache.run_scale(run)[1] * run.config.model.num_tokens for run in runs)


def notes(run_maps: Sequence[RunMaps], num_metric_images: int) -> str:
    """Notes on what the curves are computed from, how two grids are subtracted, and which checkpoints are left out."""
    sentences = [
        f"The attention curves are computed from {num_metric_images} evenly spaced test images, not only from those "
        "shown. Hover over the name of a curve for its definition."
    ]
    if len(run_maps) == 2:
        first, second, cells = _grids(run_maps)
        grids = f"The first run has {first}×{first} patches, the second {second}×{second}"
        if cells > MAX_GRID:
            sentences.append(
                f"{grids}: no common grid has {MAX_GRID}×{MAX_GRID} cells or fewer, so there is no difference."
            )
        elif first != second:
            sentences.append(
                f"{grids}. For the difference both maps are drawn on {cells}×{cells} cells; the attention of a patch "
                "is divided evenly among its cells."
            )
    titles = ("First run: ", "Second run: ") if len(run_maps) == 2 else ("",)
    sentences += [title + text for title, maps in zip(titles, run_maps, strict=True) if (text := _run_notes(maps))]
    return " ".join(sentences)


def _run_notes(maps: RunMaps) -> str:
    """Where the initial weights of a run come from, and which of its checkpoints are left out; often empty."""
    sentences = [escape_markdown(note)] if (note := maps.run.config.start_note) else []
    num_saved, num_shown = len(maps.run.checkpoints()), len(maps.over_training.checkpoints)
    if num_shown + len(maps.over_training.unreadable) < num_saved:
        sentences.append(f"{num_shown} of the {num_saved} saved checkpoints are shown, evenly spaced.")
    for checkpoint in maps.over_training.unreadable:
        sentences.append(f"The weights of {maps.run.checkpoint_title(checkpoint)} cannot be read and are left out.")
    return " ".join(sentences)


def _grids(run_maps: Sequence[RunMaps]) -> tuple[int, int, int]:
    """Patches along a side in two runs, and cells along a side of their common grid."""
    first, second = (isqrt(maps.over_training.maps.shape[-1]) for maps in run_maps)
    return first, second, lcm(first, second)


def value_table(maps: RunMaps) -> None:
    """Test accuracy and the metrics of the first map, checkpoint by checkpoint."""
    over_training = maps.over_training
    accuracy = {row["epoch"]: row["test_acc"] for row in maps.run.metrics()}
    st.dataframe(
        {
            "checkpoint": [str(checkpoint) for checkpoint in over_training.checkpoints],
            "test accuracy": [
                None if checkpoint.step else accuracy.get(checkpoint.epoch) for checkpoint in over_training.checkpoints
            ],
            **{name: over_training.metrics[name][:, 0] for name in MAP_METRICS},
        },
        column_config={
            "checkpoint": st.column_config.TextColumn(
                help="The epoch; 0 is before training, 0.4 is step 4 of the first epoch."
            ),
            "test accuracy": st.column_config.NumberColumn(format="percent"),
            **{name: st.column_config.NumberColumn(format="%.4f", help=text) for name, text in MAP_METRICS.items()},
        },
        hide_index=True,
    )
