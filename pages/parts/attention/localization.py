"""Localization: how much of each map lies on the object, for images with object masks."""

import streamlit as st
from torch import Tensor

from minivit.attention import METHODS, Head
from minivit.attention.localization import (
    Localization,
    Share,
    localize,
    localize_methods,
    revealing_controls,
    uniform_energy,
    uniform_pointing,
)
from minivit.data.image_set import evenly_spaced
from minivit.figures import share_curves
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

NUM_IMAGES = 64
NUM_EPOCHS = 17  # at most, in the chart over training


def localization_section(run: Run, epoch: int, name: str, layer: int, head: Head) -> None:
    """Every map at this epoch and at epoch 0 as a table, and the selected one over all saved epochs."""
    st.subheader("Localization", anchor=False)
    if cache.test_set(run).masks is None:
        st.caption(
            "Only the synthetic shapes have object masks. Train on them to see how much of each map lies on the object."
        )
        return
    images, _, masks = _masked_images(run)
    energy = float(uniform_energy(masks).mean())
    pointing = float(uniform_pointing(masks, run.config.model.patch_size).mean())
    st.caption(
        f"{len(images)} test images, true class, with 95% intervals. Energy inside the object: the share of the map "
        f"on the object; {energy:.1%} for a uniform map. Pointing game: how often the highest patch touches the "
        f"object; {pointing:.1%} of all patches do. The verdict compares the energy with that of a uniform map, by a "
        "paired t test corrected for the number of maps. Controls do not use the model."
    )
    _table(run, epoch)
    _over_training(run, name, layer, head, [energy, pointing])


def _table(run: Run, epoch: int) -> None:
    """Every map at this epoch and before training."""
    results = _localize_methods(run, epoch)
    start = run.config.start_title
    if line := revealing_controls(results):
        st.caption(line)
    rows = [
        {
            "map": after.name,
            f"energy, epoch {epoch}": format_share(after.energy),
            f"energy, {start}": format_share(before.energy),
            f"pointing, epoch {epoch}": format_share(after.pointing),
            f"pointing, {start}": format_share(before.pointing),
            "verdict on the energy": after.verdict,
        }
        for after, before in zip(results, _localize_methods(run, 0), strict=True)
    ]
    st.dataframe(rows, column_config={"map": st.column_config.TextColumn(width=230)}, hide_index=True)


def _over_training(run: Run, name: str, layer: int, head: Head, uniform: list[float]) -> None:
    """The maps of one method at evenly spaced saved epochs, beside the values of a uniform map."""
    saved = run.epochs()
    epochs = [saved[index] for index in evenly_spaced(len(saved), NUM_EPOCHS)]
    results = [_localize(run, epoch, name, layer, head) for epoch in epochs]
    shares = {
        "energy inside the object": [result.energy for result in results],
        "highest patch touches the object": [result.pointing for result in results],
    }
    figure = share_curves(
        epochs,
        {title: [(share.value, share.low, share.high) for share in values] for title, values in shares.items()},
        dict(zip(shares, uniform, strict=True)),
        f"{METHODS[name].title} (share)",
    )
    st.plotly_chart(figure, key="trust_epochs")


def format_share(share: Share) -> str:
    """A share with its interval: "80.5% (78.9 to 82.0)"."""
    return f"{share.value:.1%} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _masked_images(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Some test images with their labels and masks, in memory."""
    test_set = cache.test_set(run)
    assert test_set.masks is not None
    indices = evenly_spaced(len(test_set), NUM_IMAGES)
    return test_set.images[indices], test_set.labels[indices], test_set.masks[indices]


@memoize("Comparing the maps with the objects")
def _localize_methods(run: Run, epoch: int) -> list[Localization]:
    images, labels, masks = _masked_images(run)
    with threads_for(run.config):
        return localize_methods(cache.model_of(run, epoch), images, masks, labels)


@memoize()
def _localize(run: Run, epoch: int, name: str, layer: int, head: Head) -> Localization:
    images, labels, masks = _masked_images(run)
    method = METHODS[name]
    with threads_for(run.config):
        maps = method.attribute(cache.model_of(run, epoch), images, labels, layer=layer, head=head)
    return localize(method.title, maps, masks, run.config.model.patch_size)
