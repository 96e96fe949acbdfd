"""The filter and the order of the test images on Predictions; both are kept in the URL."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import streamlit as st

from minivit.inference import Order, Predictions
from pages.parts.shell.url import bind_to_url, param, param_button, pick_param
from pages.parts.shell.wording import escape_markdown

RESULTS = {"correct": True, "incorrect": False}
ORDERS: tuple[Order, ...] = get_args(Order)
MAX_CHIPS = 12
LABEL_PX, SORT_PX = 110, 180


def pick_filters(
    predictions: Predictions, classes: tuple[str, ...]
) -> tuple[str | None, str | None, str | None, Order]:
    """True class, predicted class, result, None for all, and the order; a change starts at the first page."""
    K = len(classes)
    num_correct = int(predictions.correct.sum())
    counts = [
        dict(zip(classes, np.bincount(indices, minlength=K).tolist(), strict=False))
        for indices in (predictions.labels, predictions.predicted)
    ]
    true = _pick("True class", "true", counts[0])
    predicted = _pick("Predicted class", "predicted", counts[1])
    result = _pick("Result", "result", {"correct": num_correct, "incorrect": len(predictions) - num_correct})
    is_mistake = result == "incorrect" or (true is not None and predicted is not None and true != predicted)
    return true, predicted, result, _pick_order("most confident" if is_mistake else "index")


def filter_heading(true: str | None, predicted: str | None, result: str | None) -> None:
    """What is shown, with a button that shows all images again."""
    classes = f"{true} → {predicted}" if true and predicted else true and f"true class {true}"
    parts = [part for part in (result, classes or (predicted and f"predicted class {predicted}")) if part]
    if not parts:
        st.header("All images", anchor=False, width="content")
        return
    st.header(f"Images: {escape_markdown(', '.join(parts))}", anchor=False, width="content")
    empty = dict.fromkeys(("true", "predicted", "result", "page"))
    param_button("Clear", "predictions_clear", empty, icon=":material/close:")


def _pick(label: str, name: str, counts: Mapping[str, int]) -> str | None:
    """The selected option, or None; chips with their counts, or a select box if there are many."""
    option = param(name) if param(name) in counts else None

    def widget(**how: Any) -> str | None:
        st.session_state[how["key"]] = option  # other counts, as of another epoch, make another widget
        common: dict[str, Any] = {"label_visibility": "collapsed", **how}

        def title(name: str) -> str:
            return f"{name} {counts[name]:,}"

        if len(counts) > MAX_CHIPS:
            return st.selectbox(label, list(counts), None, title, placeholder="all", **common)
        return st.pills(label, list(counts), format_func=lambda name: escape_markdown(title(name)), **common)

    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
        st.text(label, width=LABEL_PX)
        return bind_to_url(name, option, widget, clears=("page",))


def _pick_order(default: Order) -> Order:
    how = {"label_visibility": "collapsed", "width": SORT_PX}
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
        st.text("Sort by", width=LABEL_PX)
        return pick_param("order", default, st.selectbox, "Sort by", ORDERS, clears=("page",), **how)
