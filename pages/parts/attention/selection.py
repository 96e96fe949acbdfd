"""What the user selects: an attribution method with its classes, and the view of the URL."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention.methods import FORMER_NAMES, METHODS, Method, available_methods
from minivit.config import ViTConfig
from pages.parts.components.inspector import View
from pages.parts.shell.glossary import explain
from pages.parts.shell.pickers import head_param
from pages.parts.shell.url import bind_to_url, int_param, param, patch_params, pick_param
from pages.parts.shell.wording import escape_markdown

DEFAULT_METHOD = "cls_map"
WIDTH_PX = 190  # of a widget


class MethodSelection(NamedTuple):
    """The name of a method, the index of the class that it explains, and optionally that of a contrast class."""

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
    name = FORMER_NAMES.get(param("method"), param("method"))
    name = name if name in methods else DEFAULT_METHOD
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


def view_of_url(config: ViTConfig) -> View:
    """The view that the URL selects; by default CLS in the last layer, mean over heads."""
    token, masked = (patch_params(name, 1 + config.num_patches) for name in ("token", "off"))
    layer = int_param("layer", range(1, config.depth + 1), config.depth) - 1
    return View(layer, head_param(config.num_heads), token[0] if token else 0, tuple(masked))
