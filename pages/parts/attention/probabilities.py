"""The prediction for one image and the probabilities of its classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pages.parts.components.inspector import PredictionVerdict, Probabilities

MAX_CLASSES = 10


def probabilities(
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
        known = "" if true is None else f" Class: {classes[true]}."
        return Probabilities([PredictionVerdict(text=f"This model has no classifier head.{known}", correct=None)], {})
    parts = {"": probs}
    if masked is not None:
        parts[f"With {num_masked} patch{'es' if num_masked > 1 else ''} masked: "] = masked
    order = np.argsort(-probs, kind="stable")[:MAX_CLASSES]
    return Probabilities(
        [_verdict(classes, values, true, prefix) for prefix, values in parts.items()],
        {classes[k] + (" (true)" if k == true else ""): [float(values[k]) for values in parts.values()] for k in order},
    )


def _verdict(classes: Sequence[str], probs: NDArray[np.float32], true: int | None, prefix: str) -> PredictionVerdict:
    predicted = int(np.argmax(probs))
    sentence = f"{prefix}Predicted: {classes[predicted]} ({probs[predicted]:.1%})."
    if true is None:
        return PredictionVerdict(text=sentence, correct=None)
    return PredictionVerdict(text=f"{sentence} True class: {classes[true]}.", correct=predicted == true)
