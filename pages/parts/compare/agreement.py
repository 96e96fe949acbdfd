"""Two runs on the same test images: how many only one of them predicts correctly, and whether they attend alike."""

import streamlit as st
import torch

from minivit.attention.metrics import map_agreement
from minivit.inference import Predictions
from minivit.runs import Run
from minivit.stats import bootstrap, mcnemar, paired_change
from pages.parts.compare.over_training import metric_images
from pages.parts.shell import cache
from pages.parts.shell.glossary import explain


def compared_predictions(run: Run, before: int, after: int, second: Run | None) -> list[Predictions]:
    """Predictions of one run before and after, or of the run after and of a second run at its newest epoch."""
    if second:
        return [cache.predictions(run, after), cache.predictions(second, second.epochs()[-1])]
    return [cache.predictions(run, epoch) for epoch in (before, after)]


def agreement(run: Run, epoch: int, second: Run) -> None:
    """The counts of both runs, and McNemar's test of their difference; of the first run after `epoch`."""
    if not (run.config.model.num_classes and second.config.model.num_classes):
        return
    correct, other = (predictions.correct for predictions in compared_predictions(run, epoch, epoch, second))
    total = min(len(correct), len(other))  # they differ while a large set is being predicted
    if not total:
        return
    correct, other = correct[:total], other[:total]
    only_first, only_second = int((correct & ~other).sum()), int((other & ~correct).sum())
    change = (only_second - only_first) / total
    low, high = paired_change(only_second, only_first, total)
    both, neither = int((correct & other).sum()), int((~correct & ~other).sum())
    st.markdown(
        f"Of **{total:,}** test images, {both:,} are correct in both runs, **{only_first:,}** only in the first (epoch "
        f"{epoch}), **{only_second:,}** only in the second (its newest epoch), and {neither:,} in neither."
    )
    st.caption(
        f"The second run's accuracy differs by {100 * change:+.1f} points from that of the first (95% "
        f"{100 * low:+.1f} to {100 * high:+.1f}); McNemar's exact test: p = {mcnemar(only_first, only_second):.2g}. "
        "The images are the same, but each run has one seed: other seeds give other differences.",
        help=explain("McNemar's test"),
    )


def agreement_of_maps(run: Run, epoch: int, second: Run) -> None:
    """How much the last layers' CLS maps of both runs have in common, image by image."""
    if run.config.model.num_patches != second.config.model.num_patches:
        return
    images = metric_images(run)
    maps, others = (
        torch.from_numpy(cache.cls_maps(each, at, images)) for each, at in ((run, epoch), (second, second.epochs()[-1]))
    )
    correlations = map_agreement(maps, others)
    low, high = bootstrap(correlations)
    st.markdown(
        f"Their CLS maps (last layer, mean over heads) of {len(images):,} test images correlate by "
        f"**{correlations.mean():.2f}** on average (95% {low:.2f} to {high:.2f}; 1: the same pattern, 0: unrelated)."
    )
