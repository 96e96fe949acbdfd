"""The attribution method that the Attention page shows: its widgets, values and description; and the prediction."""

from collections.abc import Sequence
from contextlib import nullcontext
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention.attribution import no_report
from minivit.attention.cascade import num_passes
from minivit.attention.methods import METHODS, RENAMED, Method, available_methods, query_note, stem_note
from minivit.config import ViTConfig
from minivit.figures import scale_limit
from minivit.imports import assumptions
from minivit.inference import multiplications
from minivit.runs import Run
from pages.parts.components.inspector import HeadInView, Probabilities, ValueFormat, View, attention_format
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import head_param
from pages.parts.shell.progress import estimate, progress
from pages.parts.shell.url import bind_to_url, int_param, param, patch_params, pick_param, set_params
from pages.parts.shell.wording import escape_markdown

DEFAULT = "cls_map"
NUM_SCALE_IMAGES = 32
WIDTH_PX = 190  # of a widget
MAX_VALUES = 1_000_000  # of attention sent to the browser in one message, two bytes each
MAX_CLASSES = 10


class MethodSelection(NamedTuple):
    """The name of a method, the class that it explains, and perhaps a contrast class, by their indices."""

    name: str
    target: int
    contrast: int | None = None

    @property
    def method(self) -> Method:
        """Its entry in the registry."""
        return METHODS[self.name]

    def title(self, classes: Sequence[str]) -> str:
        """The title on the page: "Class relevance: star, not circle"."""
        if not self.method.needs_class:
            return self.method.title
        contrast = "" if self.contrast is None else f", not {classes[self.contrast]}"
        return f"{self.method.title}: {classes[self.target]}{contrast}"

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Target and contrast class of one image, (1,) each."""
        return torch.tensor([self.target]), None if self.contrast is None else torch.tensor([self.contrast])


def pick_method(config: ViTConfig, classes: Sequence[str], probs: NDArray[np.float32]) -> MethodSelection:
    """Widgets for the method and its classes; by default attention, and the most probable class."""
    methods = available_methods(config)
    reasons = [
        f"{method.title} is unavailable: {reason}"
        for method in METHODS.values()
        if (reason := method.why_unavailable(config))
    ]
    name = RENAMED.get(param("method"), param("method"))
    name = name if name in methods else DEFAULT
    name = bind_to_url(
        "method",
        name,
        st.selectbox,
        "Method",
        list(methods),
        format_func=lambda name: METHODS[name].title,
        width=WIDTH_PX,
        help=escape_markdown(" ".join([explain(METHODS[name].title, METHODS[name].limitations), *reasons])),
    )
    selection = MethodSelection(name, int(probs.argmax()) if classes else 0)
    return pick_classes(selection, classes) if selection.method.needs_class else selection


def pick_classes(selection: MethodSelection, classes: Sequence[str]) -> MethodSelection:
    """Widgets for target and contrast class; by default the selection's target and no contrast."""
    predicted = classes[selection.target]
    target = pick_param("class", predicted, st.selectbox, "Target class", classes, width=WIDTH_PX)
    others = [name for name in classes if name != target]
    how: dict[str, Any] = {"index": None, "placeholder": "none", "width": WIDTH_PX}
    contrast: str | None = pick_param("against", None, st.selectbox, "Contrast class", others, **how)
    return MethodSelection(selection.name, classes.index(target), None if contrast is None else classes.index(contrast))


def value_format(
    selection: MethodSelection, classes: Sequence[str], config: ViTConfig, num_masked: int, absolute_max: float
) -> ValueFormat:
    """How the inspector labels the values of a method, with an absolute scale up to `absolute_max`.

    Only attention is computed without the masked patches; other maps are those of the complete image.
    """
    method = selection.method
    if method.is_attention:
        return attention_format(config.num_tokens - num_masked)
    unit = method.unit if selection.contrast is None else method.unit.replace("the logit", "the logit difference")
    signs = " Red patches increase the logit, blue patches decrease it." if method.signed else ""
    return ValueFormat(
        title=selection.title(classes),
        decimals=max(0, 1 - floor(log10(absolute_max / 4))),
        unit=unit,
        meaning=f"{unit}.{signs}",
        verbs=method.verbs,
        signed=method.signed,
        uniform=method.uniform(config, config.num_tokens),
        uniform_name="uniform attention",
    )


def view_of_url(config: ViTConfig) -> View:
    """The view that the URL selects; by default CLS in the last layer, mean over heads."""
    token, masked = (patch_params(name, 1 + config.num_patches) for name in ("token", "off"))
    layer = int_param("layer", range(1, config.depth + 1), config.depth) - 1
    return View(layer, head_param(config.num_heads), token[0] if token else 0, tuple(masked))


def is_large(config: ViTConfig) -> bool:
    """Whether the attention of all layers is too much to send to a browser."""
    return config.depth * config.num_heads * config.num_tokens**2 > MAX_VALUES


def probabilities_of(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Probabilities (K,) of an image without its masked patches."""
    if is_large(run.config.model):
        return cache.inputs(run, epoch, image, masked).probs.numpy()
    return cache.attention(run, epoch, image, masked)[0]


def method_values(
    run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View
) -> NDArray[np.float32] | HeadInView:
    """The values of one image: one map (N-1,), or if the method depends on layer and head, (L, H, N, N).

    For a large model only the rows of the token and the matrix of the head in view. Only attention is computed without
    the masked patches.
    """
    masked = view.masked if selection.method.is_attention else ()
    if selection.method.needs_layer and is_large(run.config.model):
        rows = cache.token_row(run, epoch, image, masked, view.token, selection.name)
        return HeadInView(rows, cache.matrix(run, epoch, image, masked, view.layer, view.head, selection.name))
    if selection.method.is_attention:
        return cache.attention(run, epoch, image, masked)[1]
    return _values(run, epoch, image, selection)


def untrained_values(
    run: Run, image: ImageId, selection: MethodSelection, view: View
) -> NDArray[np.float32] | HeadInView | None:
    """The values of the untrained model; None if the run has no such checkpoint, or of a large imported model."""
    if 0 not in run.epochs() or (run.config.imported and is_large(run.config.model)):
        return None
    return method_values(run, 0, image, selection, view)


@memoize()
def _values(run: Run, epoch: int, image: ImageId, selection: MethodSelection) -> NDArray[np.float32]:
    method, model, images = selection.method, cache.model_of(run, epoch), cache.image_pixels(run, image)
    is_slow = estimate(num_passes(method, run.config.model) * multiplications(run.config.model)) != ""
    bar = progress(method.title, lambda: set_params(method=None)) if is_slow else nullcontext(no_report)
    with bar as report:
        return method.values(model, images, *selection.tensors(), report)[0].cpu().numpy()


def absolute_max(run: Run, selection: MethodSelection) -> float:
    """The limit of a method's absolute scale, the same for all images and epochs of a run: from its newest weights."""
    if selection.method.is_attention:
        return cache.run_scale(run)[1]
    return _absolute_max(run, run.epochs()[-1], selection.name)


@memoize()
def _absolute_max(run: Run, epoch: int, name: str) -> float:
    indices = cache.some_images(run, NUM_SCALE_IMAGES, 1)
    predicted = cache.predicted_classes(run, epoch, indices) if METHODS[name].needs_class else None
    if len(indices) == 1 and predicted is not None:  # a large model: the values that the page most likely shows
        return scale_limit(_values(run, epoch, indices[0], MethodSelection(name, int(predicted[0]))))
    images = cache.test_set(run).images[list(indices)]
    return METHODS[name].scale_max(cache.model_of(run, epoch), images, predicted)


def notes(run: Run, method: Method, view: View, *, has_untrained: bool) -> None:
    """What the user should know of the pictures: what limits them, what is missing, and what was assumed of a model."""
    sentences = [query_note(method, view.layer, view.token), *assumptions(run)]
    if view.masked:
        sentences.append(stem_note(run.config.model))
    if not has_untrained and 0 in run.epochs():
        sentences.append("The untrained map is left out for this large model; Compare shows it.")
    elif not has_untrained:
        sentences.append("This run has no untrained checkpoint to compare with.")
    if text := " ".join(filter(None, sentences)):
        st.caption(escape_markdown(text))


def about(method: Method, view: View, config: ViTConfig) -> None:
    """Formula, source and limitations of the method, and notes on how to read its map; closed by default."""
    num_masked = len(view.masked)
    description = ". ".join(map(escape_markdown, (method.formula, method.source, method.limitations)))
    notes = [f"{method.title}: {description}"]
    if method.needs_layer and config.pool == "cls":
        notes.append(
            "The logits are computed from CLS alone. In the last layer only what CLS attends to affects them; the "
            "attention of patches there is computed but not used."
        )
    elif method.needs_layer:
        reads = "reads CLS and the average of the patches" if config.pool == "cls and mean" else "does not read CLS"
        notes.append(f"The classifier head of this model averages the patches' tokens: it {reads}.")
    if config.num_registers and method.is_attention:
        notes.append(
            f"The {config.num_registers} register tokens have no position in the image and are not drawn; the "
            "attention to them is missing from each row."
        )
    if num_masked and not method.is_attention:
        notes.append("This map is computed from the complete image, the probabilities without the masked patches.")
    with st.expander("About this method", key="attention_about"):
        for note in notes:
            st.caption(note)


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
