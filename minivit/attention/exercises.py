"""Exercises: does what a user did with an image solve the task? K classes, P patches; token 1 is patch 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKE_CONFIDENCE = 0.9  # that a mistake should exceed, if the model makes such mistakes


@dataclass(frozen=True, eq=False)
class Answer:
    """An image as the user left it: its class probabilities (K,), complete and without the masked tokens.

    `cls_map` (P,) is the attention from CLS in the layer and head of the exercise, of the complete image.
    """

    probs: NDArray[np.float32]
    masked_probs: NDArray[np.float32]
    masked: tuple[int, ...]
    token: int
    true: int | None
    cls_map: NDArray[np.float32]

    @property
    def predicted(self) -> int:
        return int(self.probs.argmax())

    @property
    def most_attended(self) -> int:
        """The token of the patch with the highest value in the map."""
        return 1 + int(self.cls_map.argmax())


def selects_most_attended(answer: Answer) -> bool:
    """The selected token is the patch that CLS attends to most."""
    return answer.token == answer.most_attended


def changes_prediction(answer: Answer) -> bool:
    """Exactly one patch is masked, and without it another class is the most probable."""
    return len(answer.masked) == 1 and int(answer.masked_probs.argmax()) != answer.predicted


def raises_probability(answer: Answer) -> bool:
    """Only the most attended patch is masked, and without it the predicted class is more probable than before."""
    rises = answer.masked_probs[answer.predicted] > answer.probs[answer.predicted]
    return answer.masked == (answer.most_attended,) and bool(rises)


def is_confident_mistake(answer: Answer, confidence: float) -> bool:
    """The image's true class is known, and another one has a probability above `confidence`."""
    return answer.true is not None and answer.predicted != answer.true and float(answer.probs.max()) > confidence


def mistake_confidence(mistakes: NDArray[np.float32]) -> float | None:
    """A confidence that some of a model's mistakes exceed: `MISTAKE_CONFIDENCE`, or less if there are none above.

    `mistakes` are their confidences, in 0..1. None if the model makes no mistakes.
    """
    if not len(mistakes):
        return None
    return min(MISTAKE_CONFIDENCE, (int(np.ceil(float(mistakes.max()) * 10)) - 1) / 10)
