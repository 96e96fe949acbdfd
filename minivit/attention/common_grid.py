"""Two maps of different patch grids on one grid of cells, so that they can be subtracted.

A map has g × g patches; the common grid has G × G cells, G a multiple of g. The attention of a patch is divided evenly
among its cells, so the sum of a map does not change.
"""

import math

import numpy as np
from numpy.typing import NDArray


def grid_size(num_patches: int) -> int:
    """Patches along a side."""
    return math.isqrt(num_patches)


def common_grid_size(first: int, second: int) -> int:
    """Cells along a side of the coarsest grid on which every patch of both maps covers complete cells."""
    return math.lcm(first, second)


def patch_of_cell(grid: int, cells: int) -> NDArray[np.int32]:
    """The index of the patch that covers each cell, row by row, (cells²,)."""
    along = np.arange(cells) * grid // cells
    return (along[:, None] * grid + along).ravel().astype(np.int32)


def cell_share(grid: int, cells: int) -> float:
    """The share of a patch's attention that each of its cells gets."""
    return (grid / cells) ** 2
