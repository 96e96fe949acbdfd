"""What stands side by side on the Compare page, on which scale, and what is to be known of it."""

from collections.abc import Sequence
from typing import Any

from minivit.runs import Checkpoint, Run
from pages.parts.components.scrub import Column, Difference, Shown
from pages.parts.components.scrub.common_grid import common_grid, grid_of
from pages.parts.shell import cache

SLIDER = "at the slider"
FINEST = 64  # cells along a side of the grid on which two maps are still subtracted


def columns(shown: Sequence[Shown], before: Checkpoint, after: Checkpoint) -> dict[str, Any]:
    """The columns and the difference of `scrub`.

    Two runs stand at the slider, with their difference on a grid that both fit; single heads stand at the slider;
    else one map stands before, at the slider and after, with the difference to before.
    """
    if len(shown) == 2:
        both = [Column("first run", run=0), Column("second run", run=1)]
        return {"columns": both, "difference": Difference(1, 0) if _grids(shown)[-1] <= FINEST else None}
    names = shown[0].heads
    if len(names) > 1:
        heads = [Column(f"head {name}", map=i, captioned=False) for i, name in enumerate(names) if i]
        return {"columns": [Column("mean of heads"), *heads]}
    stages = [
        Column(before.title, checkpoint=before),
        Column(SLIDER),
        Column(after.title, checkpoint=after),
    ]
    return {"columns": stages, "difference": Difference(1, 0)}


def common_scale(runs: Sequence[Run]) -> tuple[float, float]:
    """The absolute scale of one run; of two in multiples of their uniform attention 1/N, the larger one."""
    if len(runs) == 1:
        return cache.run_scale(runs[0])
    return 0.0, max(cache.run_scale(run)[1] * (run.config.model.num_patches + 1) for run in runs)


def _grids(shown: Sequence[Shown]) -> tuple[int, int, int]:
    """Patches along a side in two runs, and cells along a side of the grid that both fit."""
    first, second = (grid_of(one.history.maps.shape[-1]) for one in shown)
    return first, second, common_grid(first, second)


def about(shown: Sequence[Shown], num_measured: int) -> str:
    """What was measured on what, and what was left out."""
    said = [
        f"The curves of attention are of {num_measured} test images spread over all, not only of those shown; "
        "where the pointer rests on a curve's name it says what it means."
    ]
    if len(shown) == 2:
        first, second, common = _grids(shown)
        cut = f"The first run cuts an image into {first}×{first} patches, the second into {second}×{second}"
        if common > FINEST:
            said.append(f"{cut}: no grid of {FINEST}×{FINEST} cells or fewer fits both, so there is no difference.")
        elif first != second:
            said.append(
                f"{cut}. For the difference both maps lie on {common}×{common} cells, and each patch's attention is "
                "divided over the pixels that it covers: none is added or lost."
            )
    for one in shown:
        num_kept = len(one.run.checkpoints())
        num_shown = len(one.history.checkpoints)
        if num_shown + len(one.history.left_out) < num_kept:
            said.append(
                f"{num_shown} of the {num_kept} kept checkpoints are shown: first, last and evenly spread ones."
            )
        for checkpoint in one.history.left_out:
            said.append(f"The weights of {checkpoint.title} cannot be read and are left out.")
    return " ".join(said)
