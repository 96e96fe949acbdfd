"""Removing patches, and the share of a map on an object; letters as in `network`."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from yardstick.network import Array


def occlusion(score: Callable[[Array], float], image: ArrayLike, patch_size: int, fill: ArrayLike) -> Array:
    """f(x) − f(x with patch j painted over) for each patch (n,), row by row (Zeiler & Fergus 1311.2901 § 4.2).

    image (channels, height, width); `fill` is a number, or one per channel.
    """
    image, p = np.asarray(image, dtype=np.float64), patch_size
    color = np.broadcast_to(np.asarray(fill, dtype=np.float64), (len(image),))
    whole, drops = score(image.copy()), []
    for row in range(image.shape[1] // p):
        for column in range(image.shape[2] // p):
            painted = image.copy()
            for channel in range(len(image)):
                painted[channel, row * p : (row + 1) * p, column * p : (column + 1) * p] = color[channel]
            drops.append(whole - score(painted))
    return np.array(drops)


def deletion_curve(score_of_kept: Callable[[list[int]], float], order: Sequence[int], num_patches: int) -> Array:
    """Scores s_0 … s_n as patches go in `order`, s_0 with all of them (RISE 1806.07421).

    `order` names the most important patch first; `score_of_kept` gets the patches that are left, ascending.
    """
    gone = [set(order[:k]) for k in range(len(order) + 1)]
    return np.array([score_of_kept([j for j in range(num_patches) if j not in past]) for past in gone])


def insertion_curve(score_of_kept: Callable[[list[int]], float], order: Sequence[int], num_patches: int) -> Array:
    """Scores s_0 … s_n as patches come in `order`, s_0 with none of them (RISE 1806.07421)."""
    come = [set(order[:k]) for k in range(len(order) + 1)]
    return np.array([score_of_kept([j for j in range(num_patches) if j in here]) for here in come])


def rise_area(scores: ArrayLike) -> float:
    """(Σs − s_0/2 − s_n/2) / n of the n + 1 scores of a curve: the trapezoid rule over 0..1 (RISE 1806.07421)."""
    s = np.asarray(scores, dtype=np.float64)
    return float((s.sum() - s[0] / 2 - s[-1] / 2) / (len(s) - 1))


def shares(mask: ArrayLike, patch_size: int) -> Array:
    """Per patch (n,), row by row, the share of its pixels that lie inside a mask (height, width)."""
    mask, p = np.asarray(mask, dtype=bool), patch_size
    return np.array(
        [
            mask[row * p : (row + 1) * p, column * p : (column + 1) * p].sum() / (p * p)
            for row in range(mask.shape[0] // p)
            for column in range(mask.shape[1] // p)
        ]
    )


def mass_inside(patch_map: ArrayLike, mask: ArrayLike, patch_size: int) -> float:
    """Σ_j m_j · share_j / Σ_j m_j: the part of a map (n,) on the object, as energy-based pointing (1910.01279)."""
    m = np.asarray(patch_map, dtype=np.float64)
    return float((m * shares(mask, patch_size)).sum() / m.sum())


def pointing(patch_map: ArrayLike, mask: ArrayLike, patch_size: int, *, least_share: float = 0.0) -> bool:
    """Pointing game (1608.00507): does the map's strongest patch lie on the object?

    The paper asks it of a point. A patch is a hit where more than `least_share` of its pixels lie inside the mask:
    0 asks for a single pixel. Of equal patches the first counts.
    """
    strongest = int(np.argmax(np.asarray(patch_map, dtype=np.float64)))
    return bool(shares(mask, patch_size)[strongest] > least_share)
