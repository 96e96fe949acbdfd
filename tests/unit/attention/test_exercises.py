"""Exercises: an answer is judged by the probabilities and the map alone."""

import numpy as np
import pytest

from minivit.attention.exercises import (
    Answer,
    changes_prediction,
    is_confident_mistake,
    mistake_confidence,
    raises_probability,
    selects_most_attended,
)

MAP = np.float32([0.1, 0.2, 0.5, 0.2])  # CLS attends to p2, token 3, most


def answer(
    probs: tuple[float, float] = (0.75, 0.25),
    masked_probs: tuple[float, float] | None = None,
    *,
    masked: tuple[int, ...] = (),
    token: int = 0,
    true: int | None = 0,
) -> Answer:
    without = probs if masked_probs is None else masked_probs
    return Answer(np.float32(probs), np.float32(without), masked, token, true, MAP)


def test_the_most_attended_patch_is_that_of_the_highest_value_and_not_cls() -> None:
    assert [token for token in range(5) if selects_most_attended(answer(token=token))] == [3]


@pytest.mark.parametrize(
    ("masked", "after", "solved"),
    [((1,), (0.4, 0.6), True), ((1,), (0.6, 0.4), False), ((1, 2), (0.4, 0.6), False), ((), (0.75, 0.25), False)],
    ids=["another class", "the same class", "two patches", "none masked"],
)
def test_one_masked_patch_has_to_change_the_prediction(
    masked: tuple[int, ...], after: tuple[float, float], solved: bool
) -> None:
    assert changes_prediction(answer(masked_probs=after, masked=masked)) is solved


@pytest.mark.parametrize(
    ("masked", "after", "solved"),
    [((3,), (0.8, 0.2), True), ((3,), (0.7, 0.3), False), ((2,), (0.8, 0.2), False), ((2, 3), (0.8, 0.2), False)],
    ids=["it rises", "it falls", "another patch", "one more patch"],
)
def test_masking_only_the_most_attended_patch_has_to_raise_the_predicted_class(
    masked: tuple[int, ...], after: tuple[float, float], solved: bool
) -> None:
    assert raises_probability(answer(masked_probs=after, masked=masked)) is solved


def test_a_confident_mistake_is_incorrect_above_the_confidence_and_its_true_class_is_known() -> None:
    assert is_confident_mistake(answer((0.95, 0.05), true=1), 0.9)
    assert not is_confident_mistake(answer((0.95, 0.05), true=0), 0.9)
    assert not is_confident_mistake(answer((0.85, 0.15), true=1), 0.9)
    assert not is_confident_mistake(answer((0.95, 0.05), true=None), 0.9)


@pytest.mark.parametrize(
    ("mistakes", "confidence"),
    [([0.5, 0.97], 0.9), ([0.85, 0.5], 0.8), ([0.75], 0.7), ([0.5], 0.4), ([], None)],
)
def test_the_confidence_that_is_asked_for_is_one_that_a_mistake_of_the_model_exceeds(
    mistakes: list[float], confidence: float | None
) -> None:
    assert mistake_confidence(np.float32(mistakes)) == confidence
