"""Whether the model's probabilities are calibrated."""

import streamlit as st

from minivit.figures import reliability_diagram
from minivit.inference import Predictions, calibration
from minivit.stats import wilson
from pages.parts.shell.glossary import explain


def reliability(predictions: Predictions) -> None:
    """Accuracy by confidence, and the expected calibration error."""
    with st.expander("Are the probabilities calibrated?"):
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
