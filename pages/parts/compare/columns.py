"""Which maps the Compare page draws side by side, on which scale, and what the reader must know about them."""

from collections.abc import Sequence
from typing import Any

from minivit.attention.common_grid import common_grid_size, grid_size
from minivit.runs import Checkpoint, Run
from pages.parts.components.scrub import Column, Difference, Shown
from pages.parts.shell import cache

SELECTED = "selected checkpoint"
MAX_GRID = 64  # cells along a side of the grid on which two maps are subtracted


def columns(shown: Sequence[Shown], before: Checkpoint, after: Checkpoint) -> dict[str, Any]:
    """The columns and the difference of `scrub`.

    Of two runs, both at the selected checkpoint, with their difference on a common grid. Of several heads, the mean
    and each head at the selected checkpoint. Else one map before, selected and after, with the difference to before.
    """
    if len(shown) == 2:
        both = [Column("first run", run=0), Column("second run", run=1)]
        return {"columns": both, "difference": Difference(1, 0) if _grids(shown)[-1] <= MAX_GRID else None}
    names = shown[0].heads
    if len(names) > 1:
        heads = [Column(f"head {name}", map=index, captioned=False) for index, name in enumerate(names) if index]
        return {"columns": [Column("mean of heads"), *heads]}
    stages = [
        Column(before.title, checkpoint=before),
        Column(SELECTED),
        Column(after.title, checkpoint=after),
    ]
    return {"columns": stages, "difference": Difference(1, 0)}


def common_scale(runs: Sequence[Run]) -> tuple[float, float]:
    """The absolute scale of one run; of two, the larger one in multiples of each run's uniform attention 1/N."""
    if len(runs) == 1:
        return cache.run_scale(runs[0])
    return 0.0, max(cache.run_scale(run)[1] * (run.config.model.num_patches + 1) for run in runs)


def notes(shown: Sequence[Shown], num_metric_images: int) -> str:
    """What the curves were computed from, how two grids were subtracted, and which checkpoints are left out."""
    sentences = [
        f"The attention curves are computed from {num_metric_images} evenly spaced test images, not only from the ones "
        "below. Point at the name of a curve for its definition."
    ]
    if len(shown) == 2:
        first, second, cells = _grids(shown)
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
    for one in shown:
        num_kept, num_shown = len(one.run.checkpoints()), len(one.history.checkpoints)
        if num_shown + len(one.history.unreadable) < num_kept:
            sentences.append(f"{num_shown} of the {num_kept} kept checkpoints are shown, evenly spaced.")
        for checkpoint in one.history.unreadable:
            sentences.append(f"The weights of {checkpoint.title} cannot be read and are left out.")
    return " ".join(sentences)


def _grids(shown: Sequence[Shown]) -> tuple[int, int, int]:
    """Patches along a side in two runs, and cells along a side of their common grid."""
    first, second = (grid_size(one.history.maps.shape[-1]) for one in shown)
    return first, second, common_grid_size(first, second)
