"""Exercises on the image in view."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from minivit.attention import Head, head_title
from minivit.attention.exercises import (
    Answer,
    changes_prediction,
    is_confident_mistake,
    mistake_confidence,
    raises_probability,
    selects_most_attended,
)
from minivit.config import ViTConfig
from minivit.inference import Predictions
from minivit.runs import Run
from pages.parts.attention.selection import DEFAULT_METHOD, MethodSelection
from pages.parts.attention.values import class_probabilities, patch_values
from pages.parts.components.inspector import View
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param, param_button, pick_param, set_params

SOLVED = "exercises_solved"  # in the session: (id of the run, name) of each


@dataclass(frozen=True)
class Exercise:
    """A task, a hint until it is solved, what it shows once it is, and the head of the last layer that it is about."""

    task: str
    hint: str
    is_solved: Callable[[Answer], bool]
    lesson: str
    head: Head = "mean"


def exercises(config: ViTConfig, predictions: Predictions) -> dict[str, Exercise]:
    """The exercises for a model, by their names in links; without the exercise on mistakes if there are none."""
    head: Head = config.num_heads - 1 if config.num_heads > 1 else "mean"
    layer = f"layer {config.depth}"
    in_layer = f"{layer}, {head_title(head)}" if config.num_heads > 1 else layer
    mean = f"{layer}, {head_title('mean')}" if config.num_heads > 1 else layer
    by_name = {
        "attended": Exercise(
            f"Select the patch that CLS attends to most in {in_layer}.",
            f"Choose {in_layer} under *Layer × head*, then click the brightest patch.",
            selects_most_attended,
            "In this head, CLS takes in more of this patch's value than of any other.",
            head,
        ),
        "change": Exercise(
            "Mask one patch so that the prediction changes.",
            "Turn on *Mask patches* and click a patch. Not every image has such a patch: try uncertain predictions.",
            changes_prediction,
            "One patch decided between the two classes.",
        ),
        "against": Exercise(
            f"Mask the patch that CLS attends to most ({mean}) in an image where this makes the predicted class more "
            "probable.",
            "Only this patch may be masked. Try other images; *Unmask all* starts again.",
            raises_probability,
            "The most attended patch counted against the predicted class: attention is not explanation.",
        ),
    }
    confidence = mistake_confidence(predictions.confidence[~predictions.correct])
    if confidence is not None:
        by_name["mistake"] = Exercise(
            f"Find an image that the model predicts incorrectly with more than {confidence:.0%} confidence.",
            "*Next incorrect image* goes through the mistakes; Predictions sorts them by confidence.",
            partial(is_confident_mistake, confidence=confidence),
            "A high probability does not mean that the prediction is correct.",
        )
    return by_name


def exercise_bar(run: Run, epoch: int, image: ImageId, view: View, predictions: Predictions | None) -> None:
    """The exercise that the URL names, and whether the image as it is in view solves it."""
    by_name = exercises(run.config.model, predictions) if predictions else {}
    name = param("exercise")
    if name not in by_name:
        return
    exercise = by_name[name]
    last_layer = View(run.config.model.depth - 1, exercise.head, 0)
    cls_map = patch_values(run, epoch, image, MethodSelection(DEFAULT_METHOD, 0), last_layer)
    answer = Answer(
        probs=class_probabilities(run, epoch, image),
        masked_probs=class_probabilities(run, epoch, image, view.masked),
        masked=view.masked,
        token=view.token,
        true=cache.image_label(run, image),
        cls_map=cls_map,
    )
    is_solved = exercise.is_solved(answer)
    if is_solved:
        _solved().add((run.id, name))
    with st.container(key="exercise_bar", border=True, gap="small"):
        st.markdown(f"**Exercise:** {exercise.task}")
        if is_solved:
            st.markdown(f":material/check_circle: **Solved.** {exercise.lesson}")
        else:
            st.markdown(f"Not solved yet. {exercise.hint}")
        unsolved = [other for other in by_name if (run.id, other) not in _solved()]
        with st.container(horizontal=True, gap="small"):
            if is_solved and unsolved:
                _button("Next exercise", unsolved[0])
            _button("Close", None)


def exercise_list(run: Run, predictions: Predictions | None) -> None:
    """All exercises, to choose from; which of them were solved with this run, and a button that forgets it."""
    if not predictions:
        return
    by_name = exercises(run.config.model, predictions)
    solved = {name for name in by_name if (run.id, name) in _solved()}
    tasks = {name: f"{'✓ ' * (name in solved)}{exercise.task}" for name, exercise in by_name.items()}
    how = {"index": None, "format_func": tasks.__getitem__, "label_visibility": "collapsed"}
    with st.container(border=True, gap="small"):
        st.markdown(f"**Exercises** · {len(solved)} of {len(by_name)} solved")
        pick_param("exercise", None, st.radio, "Exercise", list(tasks), clears=("off", "token"), **how)
        st.button("Reset", key="exercise_reset", icon=":material/restart_alt:", on_click=_reset, disabled=not solved)


def _button(label: str, exercise: str | None) -> None:
    param_button(label, f"exercise_{label}", {"exercise": exercise, "off": None, "token": None})


def _solved() -> set[tuple[str, str]]:
    return st.session_state.setdefault(SOLVED, set())


def _reset() -> None:
    st.session_state[SOLVED] = set()
    set_params(exercise=None, off=None, token=None)
