"""For a cell of the confusion matrix: where the model looked when it was wrong, and when it was right."""

import streamlit as st
import torch
from torch import Tensor

from minivit.attention.faithfulness import mistakes_minus_right, mistakes_scale, ring_mass
from minivit.attention.methods import maps
from minivit.figures import map_grid
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

CHUNK = 256  # images whose whole attention is held at a time
MIN_MISTAKES = 5  # mistakes in a cell that the common scale is made for


def mistakes(run: Run, epoch: int, true: int, mistaken: int) -> None:
    """The mean CLS map of the cell's images minus that of the right ones of its class, and mass at the border."""
    said, classes = cache.predictions(run, epoch), run.config.classes
    labels, predicted = torch.from_numpy(said.labels), torch.from_numpy(said.predicted)
    wrong, right = ((labels == true) & (predicted == of) for of in (mistaken, true))
    st.markdown("**Where it looked**")
    if not wrong.any() or not right.any():
        st.caption("This needs images of the cell, and others of the same class that were called rightly.")
        return
    found = _maps(str(run.path), epoch, run)
    difference = mistakes_minus_right(found, labels, predicted, true, mistaken)
    top = max(mistakes_scale(found, labels, predicted, MIN_MISTAKES), 1e-12)
    st.caption(
        f"CLS map of the last layer, mean over heads and images: mistakes minus right answers. Red is more. One scale "
        f"for all cells of this epoch, to the largest difference in cells of {MIN_MISTAKES} mistakes and more; uniform "
        f"attention would be {1 / (run.config.model.num_patches + 1):.4f}."
    )
    figure = map_grid(difference.view(1, 1, -1).numpy(), rows=[""], columns=[""], title="attention", limit=top)
    st.plotly_chart(figure, key="predictions_mistakes")
    sides = [ring_mass(found[chosen]) for chosen in (wrong, right)]
    st.dataframe(
        {
            "images": [f"called {classes[mistaken]} ({int(wrong.sum())})", f"right ({int(right.sum())})", "uniform"],
            "outer ring": [*(float(one.ring.mean()) for one in sides), sides[0].uniform_ring],
            "middle": [*(float(one.middle.mean()) for one in sides), sides[0].uniform_middle],
        },
        column_config={
            name: st.column_config.NumberColumn(format="percent", help="Share of the attention that patches get.")
            for name in ("outer ring", "middle")
        },
        hide_index=True,
    )


@memoize("Averaging the maps")
def _maps(path: str, epoch: int, _run: Run) -> Tensor:
    """CLS maps (n, N-1) of all test images, asked for no class."""
    test_set, model = cache.split(_run.config)[1], cache.model_of(_run, epoch)
    with threads_for(_run.config):
        parts = [test_set.images[some.tolist()] for some in torch.arange(len(test_set)).split(CHUNK)]
        return torch.cat(
            [maps("cls_map", model, images, torch.zeros(len(images), dtype=torch.int64)) for images in parts]
        )
