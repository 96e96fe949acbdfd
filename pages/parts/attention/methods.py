"""The attribution method that the Attention page shows: its widgets, its values and its description."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention.maps import attend_masked
from minivit.attention.methods import METHODS, RENAMED, Method, available_methods
from minivit.config import ViTConfig
from minivit.data.image_set import evenly_spaced
from minivit.runs import Run
from pages.parts.components.inspector import Reading, reading_of_attention
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.url import bind_to_url, param
from pages.parts.shell.wording import escape_markdown

DEFAULT = "cls_map"
NUM_SCALE_IMAGES = 32
WIDTH_PX = 220  # of a widget


class Selection(NamedTuple):
    """The name of a method, the class that it explains, and perhaps a contrast class, by their indices."""

    name: str
    target: int
    contrast: int | None = None

    @property
    def method(self) -> Method:
        """Its entry in the registry."""
        return METHODS[self.name]

    def title(self, classes: Sequence[str]) -> str:
        """As the page writes it: "Class relevance: star, not circle"."""
        if not self.method.needs_class:
            return self.method.title
        contrast = "" if self.contrast is None else f", not {classes[self.contrast]}"
        return f"{self.method.title}: {classes[self.target]}{contrast}"

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Target and contrast class of one image, (1,) each."""
        return torch.tensor([self.target]), None if self.contrast is None else torch.tensor([self.contrast])


def pick_method(config: ViTConfig, classes: Sequence[str], predicted: int) -> Selection:
    """Widgets for the method and its classes; by default attention, and the predicted class."""
    methods = available_methods(config)
    reasons = [
        f"{method.title} is unavailable: {reason}"
        for method in METHODS.values()
        if (reason := method.unavailable(config))
    ]
    name = RENAMED.get(param("method"), param("method"))

    def picker(**options: Any) -> str:
        return st.selectbox(
            "Method",
            list(methods),
            format_func=lambda name: METHODS[name].title,
            width=WIDTH_PX,
            help=escape_markdown(" ".join(reasons)) or None,
            **options,
        )

    name = bind_to_url("method", name if name in methods else DEFAULT, picker)
    selection = Selection(name, predicted)
    return _pick_classes(selection, classes) if selection.method.needs_class else selection


def _pick_classes(selection: Selection, classes: Sequence[str]) -> Selection:
    target = bind_to_url(
        "class",
        param("class") if param("class") in classes else classes[selection.target],
        lambda **options: st.selectbox("Target class", classes, width=WIDTH_PX, **options),
    )
    others = [name for name in classes if name != target]

    def picker(**options: Any) -> str | None:
        return st.selectbox("Contrast class", others, index=None, placeholder="none", width=WIDTH_PX, **options)

    contrast = param("against") if param("against") in others else None
    contrast = bind_to_url("against", contrast, picker, write=lambda name: name)
    return Selection(selection.name, classes.index(target), None if contrast is None else classes.index(contrast))


def explain(method: Method) -> None:
    """Formula, source and limitations of the method."""
    st.caption(
        f"{method.title}: {'. '.join(map(escape_markdown, (method.formula, method.source, method.limitations)))}"
    )


def reading(
    selection: Selection, classes: Sequence[str], config: ViTConfig, num_tokens: int, absolute_max: float
) -> Reading:
    """How the inspector labels the values of a method over `num_tokens` tokens, with an absolute scale up to that."""
    method = selection.method
    if method.is_attention:
        return reading_of_attention(num_tokens)
    unit = method.unit if selection.contrast is None else method.unit.replace("the logit", "the logit difference")
    signs = " Red patches increase the logit, blue patches decrease it." if method.signed else ""
    return Reading(
        title=selection.title(classes),
        decimals=max(0, 1 - floor(log10(absolute_max / 4))),
        unit=unit,
        meaning=f"{unit}.{signs}",
        verbs=method.verbs,
        signed=method.signed,
        uniform=method.uniform(config, num_tokens),
        uniform_name="uniform attention",
    )


def values(run: Run, epoch: int, image: int, selection: Selection) -> NDArray[np.float32]:
    """The values of one image: (L, H, N, N) if the method depends on layer and head, else one map (N-1,)."""
    if selection.method.is_attention:
        return cache.attention(run, epoch, image)[1]
    return _values(run, epoch, image, selection)


@memoize()
def _values(run: Run, epoch: int, image: int, selection: Selection) -> NDArray[np.float32]:
    images = cache.split(run.config)[1].images[image : image + 1]
    return selection.method.values(cache.model_of(run, epoch), images, *selection.tensors())[0].cpu().numpy()


def absolute_max(run: Run, selection: Selection) -> float:
    """The end of a method's absolute scale, the same for all images and epochs of a run: from its newest weights."""
    if selection.method.is_attention:
        return cache.run_scale(run)[1]
    return _absolute_max(run, run.epochs()[-1], selection.name)


@memoize()
def _absolute_max(run: Run, epoch: int, name: str) -> float:
    test_set = cache.split(run.config)[1]
    indices = evenly_spaced(len(test_set), NUM_SCALE_IMAGES)
    predicted = torch.from_numpy(cache.predictions(run, epoch).predicted[indices])
    return METHODS[name].scale_max(cache.model_of(run, epoch), test_set.images[indices], predicted)


@memoize()
def masked_attention(
    run: Run, epoch: int, image: int, tokens: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (K,) and attention (L, H, N, N) of an image without these tokens, whose entries are 0."""
    masked = torch.zeros(run.config.model.num_patches, dtype=torch.bool)
    masked[[token - 1 for token in tokens]] = True
    images = cache.split(run.config)[1].images[image : image + 1]
    probs, attn = attend_masked(cache.model_of(run, epoch), images, masked)
    return probs[0].cpu().numpy(), attn[0].cpu().numpy()


def caveats(method: Method, num_masked: int) -> None:
    """What to keep in mind when reading the map."""
    if method.needs_layer:
        st.caption(
            "The logits are computed from CLS alone. In the last layer only what CLS attends to reaches them; the "
            "attention of patches there is computed but not used."
        )
    if num_masked and not method.is_attention:
        st.caption("This map is that of the complete image; the probabilities are those without the masked patches.")
