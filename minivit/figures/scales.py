"""Color scales: one rule for all maps that are compared."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARE_INSIDE = 0.99  # of the values; one sharp patch does not turn all others black


def scale_limit(values: ArrayLike, minimum: float = 1e-12) -> float:
    """The end of a color scale: 99% of the values have at most this magnitude, and it is at least `minimum`."""
    magnitudes = np.abs(np.nan_to_num(np.asarray(values)))
    return max(minimum, float(np.quantile(magnitudes, SHARE_INSIDE)))


def attention_scale(maps: NDArray[np.float32], num_tokens: int) -> tuple[float, float]:
    """One scale for attention maps that are compared, (0, high).

    `high` is at least four times the uniform value 1/N, so that nearly uniform attention looks uniform.
    """
    return 0.0, scale_limit(maps, 4 / num_tokens)
