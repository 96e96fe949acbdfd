"""What if a patch were missing? The two patches that stand out, to mask with a click."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import write_head
from minivit.attention.methods import stem_note
from minivit.runs import Run
from pages.parts.attention.selection import MethodSelection
from pages.parts.attention.values import class_probabilities, is_large, method_values, patch_values
from pages.parts.components.inspector import View
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import param_button, token_name
from pages.parts.shell.wording import escape_markdown


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
        probs = class_probabilities(run, epoch, image, view.masked)
        attention, importance = _sources(selection, is_large(config), probs)
        reasons: dict[int, list[str]] = {}
        for reason, source in (("the most attended", attention), ("the most important", importance)):
            patches = patch_values(method_values(run, epoch, image, source, view), view)
            patches[[token - 1 for token in view.masked]] = -np.inf
            reasons.setdefault(1 + int(patches.argmax()), []).append(reason)
        before = probs[selection.target]
        for token, words in reasons.items():
            masked = tuple(sorted((*view.masked, token)))
            after = class_probabilities(run, epoch, image, masked)[selection.target]
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
