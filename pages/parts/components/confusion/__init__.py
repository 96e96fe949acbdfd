"""The confusion matrix as a table of buttons: how often a true class was predicted as each class."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import PackedArray, component, packed


class ConfusionData(TypedDict):
    """What `confusion.js` draws; `selected` is (true, predicted)."""

    matrix: PackedArray
    classes: list[str]
    selected: list[int] | None


def confusion(
    matrix: NDArray[np.integer], classes: Sequence[str], *, key: str, selected: tuple[int, int] | None = None
) -> tuple[int, int] | tuple[()] | None:
    """Draws `matrix` (true, predicted) of counts; returns a click in the rerun that it triggers, else None.

    The value is `(true, predicted)`, or `()` for a click on the `selected` cell, which clears the selection. So
    `if picked is not None: selected = picked or None`.
    """
    assert matrix.shape == (len(classes), len(classes)), (matrix.shape, len(classes))
    result = component("confusion")(
        key=key,
        data=ConfusionData(
            matrix=packed(matrix.astype(np.int32)),
            classes=list(classes),
            selected=None if selected is None else list(selected),
        ),
        on_picked_change=lambda: None,
    )
    if result.picked is None:
        return None
    if not result.picked:
        return ()
    true, predicted = result.picked
    return int(true), int(predicted)
