"""Accuracy with its interval, and precision and recall by class."""

import streamlit as st

from minivit.config import TrainConfig
from minivit.data import ImageSet, num_without_class
from minivit.inference import Predictions, precision_recall
from minivit.stats import wilson


def accuracy(predictions: Predictions, config: TrainConfig, test_set: ImageSet) -> None:
    """Test accuracy, its 95% interval and chance; a note about images of no class of an imported model."""
    num_correct, num_images = int(predictions.correct.sum()), len(predictions.labels)
    low, high = wilson(num_correct, num_images)
    st.metric("Test accuracy", f"{predictions.accuracy:.1%}", width="content")
    st.caption(
        f"{num_correct:,} of {num_images:,} correct; 95% interval {low:.1%} to {high:.1%} (Wilson). "
        f"Chance is {1 / len(config.classes):.0%}."
    )
    if config.imported and (num_unknown := num_without_class(test_set)):
        st.info(
            f"{num_unknown:,} of these images are in folders that are not a class of this model. Their predictions "
            "cannot be correct and count as incorrect here."
        )


def class_table(predictions: Predictions, classes: tuple[str, ...]) -> None:
    """Precision and recall of every class."""
    precision, recall = precision_recall(predictions.confusion)
    st.dataframe(
        {"class": classes, "precision": precision, "recall": recall},
        column_config={
            name: st.column_config.ProgressColumn(name, format="percent", min_value=0, max_value=1, width=110)
            for name in ("precision", "recall")
        },
        hide_index=True,
    )
