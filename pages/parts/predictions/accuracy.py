"""Accuracy with its interval, precision and recall by class, calibration, and confidence on unseen classes."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.data import ImageSet
from minivit.figures import confidence_histogram, reliability_diagram
from minivit.imports import has_class_names, num_head_classes
from minivit.inference import Predictions, calibration, precision_recall, precision_recall_intervals
from minivit.out_of_distribution import has_other_classes
from minivit.runs import Run
from minivit.stats import auroc, wilson
from pages.parts.shell import cache
from pages.parts.shell.glossary import explain
from pages.parts.shell.wording import escape_markdown

HIGH_CONFIDENCE = 0.9


def accuracy(predictions: Predictions, run: Run, test_set: ImageSet) -> None:
    """Test accuracy, its 95% interval and chance; a note about images of classes that an imported model lacks."""
    if not has_class_names(run):
        st.info(
            "The names of this model's classes are unknown, so no prediction can be compared with a folder's name. "
            "Import it again with a file of class names."
        )
        return
    num_correct, num_images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = wilson(num_correct, num_images)
    num_classes = num_head_classes(run)
    majority = np.bincount(predictions.labels).max() / num_images
    st.metric("Test accuracy", f"{predictions.accuracy:.1%}", width="content")
    so_far = " so far" if num_images < len(test_set) else ""
    st.caption(
        f"{num_correct:,} of {num_images:,} correct{so_far}; 95% interval {low:.1%} to {high:.1%} (Wilson). "
        f"Chance is {1 / num_classes:.0%}; always predicting the most frequent class gives {majority:.0%}.",
        help=explain("Wilson interval"),
    )
    if num_unknown := int((test_set.labels >= num_classes).sum()):
        st.info(
            f"{num_unknown:,} of these images are in folders that are not a class of this model. Their predictions "
            "cannot be correct and count as incorrect here."
        )


def class_table(predictions: Predictions, classes: tuple[str, ...]) -> None:
    """Precision and recall of every class with their intervals."""
    precision, recall = precision_recall(predictions.confusion)
    intervals = precision_recall_intervals(predictions.confusion)
    of_precision, of_recall = ([_percent_range(interval) for interval in column] for column in intervals)
    st.dataframe(
        {
            "class": classes,
            "precision": 100 * precision,
            "recall": 100 * recall,
            "95% interval of precision": of_precision,
            "95% interval of recall": of_recall,
        },
        column_config={
            name: st.column_config.ProgressColumn(name, format="%.1f%%", min_value=0, max_value=100, width=110)
            for name in ("precision", "recall")
        },
        hide_index=True,
    )


def _percent_range(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{100 * interval[0]:.1f} to {interval[1]:.1%}"


def reliability(predictions: Predictions) -> None:
    """Accuracy by confidence, and the expected calibration error."""
    with st.expander("Are the probabilities calibrated?", key="predictions_calibration"):
        result = calibration(predictions)
        intervals = [
            wilson(round(share * count), int(count))
            for share, count in zip(result.accuracy, result.counts, strict=True)
        ]
        st.plotly_chart(
            reliability_diagram(result.confidence, result.accuracy, intervals, result.counts),
            key="predictions_reliability",
        )
        st.caption(
            f"Of predictions with 80% confidence, 80% should be correct (dotted). Expected calibration error: "
            f"{result.error:.1%}, over 10 bins (arXiv 1706.04599); 95% intervals (Wilson).",
            help=explain("Calibration error"),
        )


def unseen_classes(run: Run, epoch: int) -> None:
    """The confidence on images of classes that the run was not trained on, beside that on its test images."""
    if (cache.test_set(run).labels >= num_head_classes(run)).any():
        return  # an imported model on images of other classes; which of them it knows may be unknown
    with st.expander("Confidence on unseen classes", key="predictions_unseen", on_change="rerun") as section:
        if not section.open:
            return
        result = cache.calibration(run, epoch)
        if result is None:
            st.caption("This run was trained on all synthetic shapes, so there are no images of other classes.")
            return
        known, unseen = result.known_confidence, result.other_confidence
        area, low, high = auroc(known, unseen)
        shares = [_share_above(confidence) for confidence in (known, unseen)]
        st.markdown(
            f"On images of classes that it never saw, the model is at least {HIGH_CONFIDENCE:.0%} confident in "
            f"**{shares[1]}** of the cases; on test images, in **{shares[0]}**."
        )
        st.plotly_chart(
            confidence_histogram({"test images": known, "unseen classes": unseen}), key="predictions_unseen_chart"
        )
        names = escape_markdown(", ".join(result.other_classes[:6]) + ", …" * (len(result.other_classes) > 6))
        source = f"Unseen: {names}."
        if not has_other_classes(run.config):
            source = (
                f"All classes of the data set are this model's own, so these are synthetic shapes ({names}). They "
                "differ from its images in more than the class; unseen classes of the same kind may score differently."
            )
        st.caption(
            f"AUROC {area:.2f} ({low:.2f} to {high:.2f}): the probability that the model is more confident about a "
            f"test image than about one of an unseen class; 0.5 is chance (arXiv 1610.02136). {len(known)} test images "
            f"and {len(unseen)} of unseen classes; 95% intervals (DeLong, Wilson). {source}",
            help=explain("AUROC"),
        )


def _share_above(confidence: NDArray[np.float32]) -> str:
    """The share of images with high confidence, with its interval."""
    count = int((confidence >= HIGH_CONFIDENCE).sum())
    low, high = wilson(count, len(confidence))
    return f"{count / len(confidence):.1%} ({100 * low:.1f} to {high:.1%})"
