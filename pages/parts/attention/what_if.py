"""What if a patch were missing? The two patches that stand out, to mask with a click."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import head_title
from minivit.attention.methods import Method, stem_note
from minivit.config import ViTConfig
from minivit.runs import Run
from pages.parts.attention.selection import DEFAULT_METHOD, MethodSelection
from pages.parts.attention.values import class_probabilities, is_large, patch_values
from pages.parts.components.inspector import View
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param_button, token_name
from pages.parts.shell.wording import escape_markdown


def what_if(run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View) -> None:
    """The card, for models with classes; for a large one nothing is computed until the user turns it on."""
    config = run.config.model
    if not config.num_classes:
        return
    with st.container(border=True, gap="small"):
        st.markdown("**What if a patch were missing?**")
        if is_large(config) and not st.toggle("Mask what stands out", key="what_if", bind="query-params"):
            return
        if len(view.masked) == config.num_patches:
            st.caption("All patches are masked.")
            return
        probs = class_probabilities(run, epoch, image, view.masked)
        attention, importance = _sources(selection, is_large(config), probs)
        reasons: dict[int, list[str]] = {}  # by token
        for reason, source in (("the most attended", attention), ("the most important", importance)):
            patches = patch_values(run, epoch, image, source, view)
            patches[[token - 1 for token in view.masked]] = -np.inf
            reasons.setdefault(1 + int(patches.argmax()), []).append(reason)
        classes = cache.test_set(run).classes
        name = escape_markdown(classes[selection.target])
        before = probs[selection.target]
        for token, words in reasons.items():
            masked = tuple(sorted((*view.masked, token)))
            after = class_probabilities(run, epoch, image, masked)[selection.target]
            _mask_button(token, masked, " and ".join(words), f"{name} {before:.1%} → **{after:.1%}**")
        contrast = "" if importance.contrast is None else f" against {escape_markdown(classes[importance.contrast])}"
        sentences = [
            f"Most attended: {_map_title(attention.method, view, config)}.",
            f"Most important for {name}{contrast}: {importance.method.title}.",
            _complete_image_note(attention.method, importance.method) if view.masked else stem_note(config),
        ]
        st.caption(" ".join(filter(None, sentences)))


def _mask_button(token: int, masked: tuple[int, ...], reason: str, change: str) -> None:
    """A button that masks a token besides those masked before, and the change of the probability."""
    patch = token_name(token)
    with st.container(horizontal=True, vertical_alignment="center"):
        off = {"off": list(map(token_name, masked))}
        param_button(f"Mask {patch}", f"attention_mask_{reason}", off, icon=":material/visibility_off:")
        st.markdown(f"Without {patch}, {reason}: {change}", width="content")


def _map_title(method: Method, view: View, config: ViTConfig) -> str:
    title = method.title
    if method.needs_layer:
        title += f", layer {view.layer + 1}"
    if method.needs_layer and config.num_heads > 1:
        title += f", {head_title(view.head)}"
    return title


def _complete_image_note(*methods: Method) -> str:
    """The methods whose maps do not leave out the masked patches."""
    return f"Computed from the complete image: {', '.join(each.title for each in methods if not each.is_attention)}."


def _sources(
    selection: MethodSelection, large: bool, probs: NDArray[np.float32]
) -> tuple[MethodSelection, MethodSelection]:
    """The methods that say which patch is the most attended and which the most important one.

    `probs` (K,) are those of the image. Unless the user chose a method for a class, importance is that for the target
    against the most probable other class: a patch that supports all classes alike does not change a probability.
    """
    if selection.method.needs_class:
        return selection._replace(name=DEFAULT_METHOD), selection
    others = [int(index) for index in probs.argsort()[::-1] if index != selection.target]
    contrast = others[0] if others else None
    return selection, selection._replace(name="relevance" if large else "leave_one_out", contrast=contrast)
