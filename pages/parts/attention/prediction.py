"""What the model predicts for an image, and whether a picture belongs to any of its classes."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.out_of_distribution import score
from minivit.runs import Run
from pages.parts.components.inspector import Probabilities
from pages.parts.shell import cache
from pages.parts.shell.wording import escape_markdown

MAX_CLASSES = 10


def prediction_summary(
    classes: Sequence[str],
    probs: NDArray[np.float32],
    true: int | None,
    masked: NDArray[np.float32] | None = None,
    num_masked: int = 0,
) -> Probabilities:
    """The verdict on the prediction and the probabilities (K,), the most probable classes first.

    `masked` are the probabilities with `num_masked` patches masked: a second verdict, and a second value by class.
    """
    if not len(probs):
        label = "" if true is None else f" Class: {classes[true]}."
        return Probabilities([(f"This model has no classifier head.{label}", None)], {})
    parts = {"": probs}
    if masked is not None:
        parts[f"With {num_masked} patch{'es' if num_masked > 1 else ''} masked: "] = masked
    known = "" if true is None else f" True class: {classes[true]}."
    verdicts: list[tuple[str, bool | None]] = []
    for prefix, values in parts.items():
        predicted = int(np.argmax(values))
        text = f"{prefix}Predicted: {classes[predicted]} ({values[predicted]:.1%}).{known}"
        verdicts.append((text, None if true is None else predicted == true))
    order = np.argsort(-probs, kind="stable")[:MAX_CLASSES]
    return Probabilities(
        verdicts,
        {classes[k] + (" (true)" if k == true else ""): [float(values[k]) for values in parts.values()] for k in order},
    )


def membership(run: Run, epoch: int, picture: str) -> None:
    """Whether the picture probably belongs to none of the classes, with the values that support this."""
    calibration = cache.calibration(run, epoch)
    if calibration is None:
        st.caption(
            "There are no images of other classes, so MiniViT cannot tell whether this picture belongs to any class."
        )
        return
    verdict = calibration.judge(float(cache.analyze(score, run, epoch, (picture,))))
    if verdict.is_other:
        st.warning("This picture probably belongs to none of the classes.", icon=":material/help:")
    st.caption(
        escape_markdown(
            f"{verdict.p_value:.0%} of the test images and {verdict.other_share:.0%} of "
            f"{len(calibration.other)} images of other classes ({', '.join(calibration.other_classes[:6])}) have a "
            f"largest logit this low or lower. AUROC between the two groups: {calibration.auroc:.2f} (0.5 is chance)."
        )
    )
