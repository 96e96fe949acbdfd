"""Two maps of different patches on one grid, with their mass kept, so that they can be subtracted.

A map has g × g patches; the grid has G × G cells, G a multiple of g. Each patch's attention is divided evenly over
the cells that it covers.
"""

import math

import numpy as np
from numpy.typing import NDArray


def grid_of(num_patches: int) -> int:
    """Patches along a side."""
    return math.isqrt(num_patches)


def common_grid(first: int, second: int) -> int:
    """Cells along a side of the coarsest grid in which the patches of both maps are whole numbers of cells."""
    return math.lcm(first, second)


def patch_of_cell(grid: int, cells: int) -> NDArray[np.int32]:
    """The patch that covers each cell, row by row, (cells²,)."""
    along = np.arange(cells) * grid // cells
    return (along[:, None] * grid + along).ravel().astype(np.int32)


def share_of_cell(grid: int, cells: int) -> float:
    """The share of its patch's attention that a cell gets."""
    return (grid / cells) ** 2
