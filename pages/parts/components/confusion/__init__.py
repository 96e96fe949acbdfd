"""The confusion matrix as a table of buttons: how often a true class was predicted as each class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.component import component, packed


def confusion(
    matrix: NDArray[np.integer], classes: Sequence[str], *, key: str, selected: tuple[int, int] | None = None
) -> tuple[int, ...] | None:
    """Draws `matrix` (true, predicted) of counts; returns a click in the rerun that it triggers, else None.

    The value is `(true, predicted)`, or `()` for a click on the `selected` cell, which clears the selection. So
    `if picked is not None: selected = picked or None`.
    """
    assert matrix.shape == (len(classes), len(classes)), (matrix.shape, len(classes))
    data = {"matrix": packed(matrix.astype(np.int32)), "classes": list(classes), "selected": selected}
    result = component("confusion")(key=key, data=data, on_picked_change=lambda: None)
    return None if result.picked is None else tuple(map(int, result.picked))
