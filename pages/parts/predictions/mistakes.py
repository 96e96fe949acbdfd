"""CLS maps of the test images: those that the gallery shows under the pointer, and those of a cell of mistakes."""

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention import METHODS
from minivit.attention.maps import num_affordable
from minivit.attention.metrics import mistakes_minus_correct, mistakes_scale, ring_mass
from minivit.figures import map_grid
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.components.gallery import HoverMaps
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

MIN_MISTAKES = 5  # images in a cell that is included in the common scale


def mistakes(run: Run, epoch: int, true: int, mistaken: int) -> None:
    """The mean CLS map of the cell minus that of correct predictions of its class; attention at the border."""
    predictions = cache.predictions(run, epoch)
    classes = run.config.classes
    labels, predicted = torch.from_numpy(predictions.labels), torch.from_numpy(predictions.predicted)
    incorrect, correct = ((labels == true) & (predicted == index) for index in (mistaken, true))
    st.markdown("**Attention in mistakes**")
    if not incorrect.any() or not correct.any():
        st.caption("This map needs images in the cell and correct predictions of the same class.")
        return
    maps = _maps(run, epoch)
    difference = mistakes_minus_correct(maps, labels, predicted, true, mistaken)
    scale_max = max(mistakes_scale(maps, labels, predicted, MIN_MISTAKES), 1e-12)
    st.caption(
        "CLS map of the last layer, mean over heads and images: incorrect minus correct predictions. Red is more "
        f"attention. The scale is the same for all cells of this epoch: the largest difference in cells with at least "
        f"{MIN_MISTAKES} mistakes. Uniform attention is {1 / run.config.model.num_tokens:.4f}."
    )
    values = difference.view(1, 1, -1).cpu().numpy()
    st.plotly_chart(
        map_grid(values, rows=[""], columns=[""], title="attention", limit=scale_max), key="predictions_mistakes"
    )
    groups = [ring_mass(maps[group]) for group in (incorrect, correct)]
    st.dataframe(
        {
            "images": [
                f"predicted {classes[mistaken]} ({int(incorrect.sum())})",
                f"correct ({int(correct.sum())})",
                "uniform",
            ],
            "outer ring": [*(float(group.ring.mean()) for group in groups), groups[0].uniform_ring],
            "middle": [*(float(group.middle.mean()) for group in groups), groups[0].uniform_middle],
        },
        column_config={
            name: st.column_config.NumberColumn(format="percent", help="Share of the attention to all patches.")
            for name in ("outer ring", "middle")
        },
        hide_index=True,
    )


@memoize("Averaging the maps")
def _maps(run: Run, epoch: int) -> Tensor:
    """CLS maps (N, n) of all test images: last layer, mean over heads."""
    with threads_for(run.config):
        images = cache.test_set(run).images
        return METHODS["cls_map"].attribute(cache.model_of(run, epoch), images).cpu()


def hover_maps(run: Run, epoch: int, indices: NDArray[np.int64]) -> HoverMaps | None:
    """The CLS maps of some test images on the run's scale; None if the model is too large for that."""
    if not len(indices) or num_affordable(run.config.model, len(indices), 0) < len(indices):
        return None
    maps = cache.cls_maps(run, epoch, tuple(indices.tolist()))
    return HoverMaps(maps, cache.run_scale(run), 1 / run.config.model.num_tokens)
