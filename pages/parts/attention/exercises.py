"""What changes without a patch: the two that stand out, to mask with a click, and exercises on the image in view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import Head, write_head
from minivit.attention.exercises import (
    Answer,
    changes_prediction,
    is_confident_mistake,
    mistake_confidence,
    raises_probability,
    selects_most_attended,
)
from minivit.attention.methods import stem_note
from minivit.config import ViTConfig
from minivit.inference import Predictions
from minivit.runs import Run
from pages.parts.attention.methods import DEFAULT, MethodSelection, is_large, method_values, probabilities_of
from pages.parts.components.inspector import HeadInView, View
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param, param_button, pick_param, set_params, token_name
from pages.parts.shell.wording import escape_markdown

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
    in_layer = f"layer {config.depth}" + (f", head {write_head(head)}" if config.num_heads > 1 else "")
    mean = f"layer {config.depth}" + (", mean of all heads" if config.num_heads > 1 else "")
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


def exercise_bar(
    run: Run, epoch: int, image: ImageId, view: View, true: int | None, predictions: Predictions | None
) -> None:
    """The exercise that the URL names, and whether the image as it is in view solves it."""
    by_name = exercises(run.config.model, predictions) if predictions else {}
    name = param("exercise")
    if name not in by_name:
        return
    exercise = by_name[name]
    layer = View(run.config.model.depth - 1, exercise.head, 0)
    cls_map = patch_values(method_values(run, epoch, image, MethodSelection(DEFAULT, 0), layer), layer)
    probs, masked_probs = (probabilities_of(run, epoch, image, masked) for masked in ((), view.masked))
    answer = Answer(probs, masked_probs, view.masked, view.token, true, cls_map)
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


def what_if(
    run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View, classes: Sequence[str]
) -> None:
    """The card; for a large model nothing is computed until the user turns it on. None for a model without classes."""
    config = run.config.model
    if not config.num_classes:
        return
    name = classes[selection.target]
    with st.container(border=True, gap="small"):
        st.markdown("**What if a patch were missing?**")
        if is_large(config) and not st.toggle("Mask what stands out", key="what_if", bind="query-params"):
            return
        if len(view.masked) == config.num_patches:
            st.caption("All patches are masked.")
            return
        probs = probabilities_of(run, epoch, image, view.masked)
        attention, importance = _sources(selection, is_large(config), probs)
        reasons: dict[int, list[str]] = {}
        for reason, source in (("the most attended", attention), ("the most important", importance)):
            patches = patch_values(method_values(run, epoch, image, source, view), view)
            patches[[token - 1 for token in view.masked]] = -np.inf
            reasons.setdefault(1 + int(patches.argmax()), []).append(reason)
        before = probs[selection.target]
        for token, words in reasons.items():
            masked = tuple(sorted((*view.masked, token)))
            after = probabilities_of(run, epoch, image, masked)[selection.target]
            patch, reason = token_name(token), " and ".join(words)
            with st.container(horizontal=True, vertical_alignment="center"):
                off = {"off": list(map(token_name, masked))}
                param_button(f"Mask {patch}", f"attention_mask_{reason}", off, icon=":material/visibility_off:")
                change = f"{escape_markdown(name)} {before:.1%} → **{after:.1%}**"
                st.markdown(f"Without {patch}, {reason}: {change}", width="content")
        place = [attention.method.title]
        if attention.method.needs_layer:
            place.append(f"layer {view.layer + 1}")
        if attention.method.needs_layer and config.num_heads > 1:
            place.append(f"head {write_head(view.head)}")
        against = "" if importance.contrast is None else f" against {escape_markdown(classes[importance.contrast])}"
        importance_of = f"Most important for {escape_markdown(name)}{against}: {importance.method.title}."
        of_complete = [source.method.title for source in (attention, importance) if not source.method.is_attention]
        complete = f"Computed from the complete image: {', '.join(of_complete)}." if view.masked else stem_note(config)
        st.caption(f"Most attended: {', '.join(place)}. {importance_of} {complete}".strip())


def _sources(
    selection: MethodSelection, large: bool, probs: NDArray[np.float32]
) -> tuple[MethodSelection, MethodSelection]:
    """The methods that say which patch is the most attended and which the most important one.

    `probs` (K,) are those of the image. Unless the user chose a method for a class, importance is that for the target
    against the most probable other class: a patch that supports all classes alike does not change a probability.
    """
    if selection.method.needs_class:
        return selection._replace(name="cls_map"), selection
    others = [index for index in probs.argsort()[::-1] if index != selection.target]
    name, contrast = "relevance" if large else "leave_one_out", int(others[0]) if others else None
    return selection, selection._replace(name=name, contrast=contrast)


def patch_values(values: NDArray[np.float32] | HeadInView, view: View) -> NDArray[np.float32]:
    """The values (N-1,) of the patches for the token in view."""
    if isinstance(values, HeadInView):
        return values.matrix[view.token, 1:].copy()
    if values.ndim == 1:
        return values.copy()
    heads = values[view.layer, :, view.token, 1:]
    return heads[view.head].copy() if isinstance(view.head, int) else getattr(heads, view.head)(axis=0)
