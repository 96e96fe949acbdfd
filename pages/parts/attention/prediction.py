"""What the model predicts for an image, and whether a picture belongs to any of its classes."""

import numpy as np
import streamlit as st

from minivit.out_of_distribution import score
from minivit.runs import Run
from pages.parts.attention.values import class_probabilities
from pages.parts.components.inspector import Probabilities
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.wording import escape_markdown

MAX_CLASSES = 10  # whose probabilities are shown


def prediction_summary(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...]) -> Probabilities:
    """The verdict on the prediction and the probabilities, the most probable classes first.

    With patches masked, a second verdict, and a second value by class.
    """
    classes = cache.test_set(run).classes
    true = cache.image_label(run, image)
    probs = class_probabilities(run, epoch, image)
    if not len(probs):
        label = "" if true is None else f" Class: {classes[true]}."
        return Probabilities([(f"This model has no classifier head.{label}", None)], {})
    by_prefix = {"": probs}
    if masked:
        prefix = f"With {len(masked)} patch{'es' if len(masked) > 1 else ''} masked: "
        by_prefix[prefix] = class_probabilities(run, epoch, image, masked)
    label = "" if true is None else f" True class: {classes[true]}."
    verdicts: list[tuple[str, bool | None]] = []
    for prefix, values in by_prefix.items():
        predicted = int(np.argmax(values))
        text = f"{prefix}Predicted: {classes[predicted]} ({values[predicted]:.1%}).{label}"
        verdicts.append((text, None if true is None else predicted == true))
    order = np.argsort(-probs, kind="stable")[:MAX_CLASSES]
    names = {k: classes[k] + (" (true)" if k == true else "") for k in order}
    return Probabilities(verdicts, {name: [float(each[k]) for each in by_prefix.values()] for k, name in names.items()})


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
