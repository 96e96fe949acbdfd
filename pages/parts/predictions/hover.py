"""The attention that the gallery shows under the pointer."""

import numpy as np
from numpy.typing import NDArray

from minivit.attention import METHODS
from minivit.attention.maps import affordable
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.components.gallery import HoverMaps
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize


def hover_maps(run: Run, epoch: int, indices: NDArray[np.int64]) -> HoverMaps | None:
    """The CLS maps of some test images on the run's scale; None if the model is too large for that."""
    if not len(indices) or affordable(run.config.model, len(indices), 0) < len(indices):
        return None
    maps = _cls_maps(run, epoch, tuple(indices.tolist()))
    return HoverMaps(maps, cache.run_scale(run), 1 / run.config.model.num_tokens)


@memoize()
def _cls_maps(run: Run, epoch: int, indices: tuple[int, ...]) -> NDArray[np.float32]:
    """CLS maps (B, n): last layer, mean over heads."""
    images = cache.test_set(run).images[list(indices)]
    with threads_for(run.config):
        return METHODS["cls_map"].attribute(cache.model_of(run, epoch), images).cpu().numpy()
