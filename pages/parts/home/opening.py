"""What Home opens with: an image of the example run, its patches, and its attention untrained and trained."""

import numpy as np
import streamlit as st
import torch

from minivit.attention.localization import energy_inside, uniform_energy
from minivit.runs import Run
from minivit.tour import example_run, read_highlights
from pages.parts.components.hero import hero
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize


def opening() -> None:
    """The pictures, and what they show as a sentence."""
    run, image = example_run(), read_highlights().image
    maps = _maps(run, image)
    test_set, checkpoints = cache.test_set(run), run.checkpoints()
    name = test_set.classes[test_set.labels[image]]
    num_tokens = run.config.model.num_tokens
    hero(
        test_set.images[image].numpy(),
        maps,
        key="home_hero",
        title=f"An image of the class {name}",
        checkpoints=[checkpoint.title for checkpoint in checkpoints],
        scale=cache.run_scale(run),
        uniform=1 / num_tokens,
    )
    before, after, area = _shares_on_object(run, image)
    st.markdown(
        f"Untrained, the model attends to all patches nearly alike: the {name}, {area:.0%} of the image, gets "
        f"{before:.0%} of its attention to patches. After {checkpoints[-1].epoch} epochs it gets **{after:.0%}**, and "
        f"the most attended patch {num_tokens * maps[-1].max():.0f} × as much as with uniform attention."
    )


@memoize()
def _maps(run: Run, image: int) -> np.ndarray:
    """The CLS maps (F, P) of an image at every checkpoint: last layer, mean over its heads."""
    last = run.config.model.depth - 1
    return np.concatenate([cache.cls_maps(run, each, (image,), last, "mean") for each in run.checkpoints()])


@memoize()
def _shares_on_object(run: Run, image: int) -> tuple[float, float, float]:
    """The share of the attention to patches that is on the object, untrained and trained; the object's of the image."""
    selected = cache.test_set(run).select([image])
    assert selected.masks is not None  # the data set 'shapes' has them
    masks, maps = selected.masks[:], torch.from_numpy(_maps(run, image)[[0, -1]])
    before, after = energy_inside(maps, masks, run.config.model.patch_size).tolist()
    return before, after, float(uniform_energy(masks)[0])
