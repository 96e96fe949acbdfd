"""Attention over training, memoized per checkpoint."""

from collections.abc import Sequence

import streamlit as st

from minivit.attention import Head
from minivit.attention.over_training import (
    AttentionOverTraining,
    MapMetrics,
    Snapshot,
    map_metrics,
    stack,
    take_snapshot,
)
from minivit.data.image_set import evenly_spaced
from minivit.errors import RunError
from minivit.inference import multiplications
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.progress import estimate, progress

MAX_METRIC_IMAGES = 64  # test images from which the metrics over training are computed
MAX_CHECKPOINTS = 200
ALL_CHECKPOINTS = "compare_all"  # begins the key of a run's toggle
MAX_VALUES = 2_000_000  # map values sent to the browser in one message, two bytes each


def metric_images(run: Run) -> tuple[int, ...]:
    """The test images that the metrics over training are computed from, evenly spaced: fewer if the model is large."""
    return cache.some_images(run, MAX_METRIC_IMAGES)


def attention_over_training(
    run: Run, images: list[int], layer: int, heads: Sequence[Head], always: Sequence[Checkpoint]
) -> AttentionOverTraining:
    """Maps of some test images at the saved checkpoints, evenly spaced ones if there are too many.

    Those in `always` are included. Metrics are of the `metric_images`. If it takes long, a toggle shows the estimate;
    until it is on, only the first and the last checkpoint and those in `always` are included.
    """
    checkpoints = run.checkpoints()
    limit = min(MAX_CHECKPOINTS, MAX_VALUES // (len(images) * len(heads) * run.config.model.num_patches))
    num_maps = min(limit, len(checkpoints)) * (len(images) + len(metric_images(run)))
    if text := estimate(num_maps * multiplications(run.config.model)):
        is_on = st.toggle(f"All {len(checkpoints):,} checkpoints. {text}", key=f"{ALL_CHECKPOINTS}_{run.id}")
        limit = limit if is_on else 2
    indices = evenly_spaced(len(checkpoints), max(2, limit))
    included = sorted({*(checkpoints[index] for index in indices), *always})
    return _attention_over_training(run, tuple(included), tuple(images), layer, tuple(heads))


@memoize()
def _attention_over_training(
    run: Run, checkpoints: tuple[Checkpoint, ...], images: tuple[int, ...], layer: int, heads: tuple[Head, ...]
) -> AttentionOverTraining:
    """Raises RunError if the weights of epoch 0 cannot be read; other unreadable checkpoints are left out."""
    results: dict[Checkpoint, tuple[Snapshot, MapMetrics]] = {}
    unreadable = []
    toggle = f"{ALL_CHECKPOINTS}_{run.id}"
    cancel = toggle if st.session_state.get(toggle) else None
    with threads_for(run.config), progress("Computing attention at the saved checkpoints", cancel) as report:
        _snapshot(run, Checkpoint(0), metric_images(run))
        for index, checkpoint in enumerate(checkpoints):
            report(index / len(checkpoints))
            try:
                results[checkpoint] = _snapshot(run, checkpoint, images), _metrics(run, checkpoint)
            except RunError:
                unreadable.append(checkpoint)
    return stack(results, layer, heads, unreadable)


@memoize()
def _snapshot(run: Run, checkpoint: Checkpoint, images: tuple[int, ...]) -> Snapshot:
    return take_snapshot(run.load_model(checkpoint), cache.test_set(run).images[list(images)])


@memoize()
def _metrics(run: Run, checkpoint: Checkpoint) -> MapMetrics:
    images = metric_images(run)
    return map_metrics(_snapshot(run, checkpoint, images), _snapshot(run, Checkpoint(0), images))
