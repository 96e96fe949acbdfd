"""What the tokens of an image receive and contain: attention sinks, and the features of the patches."""

import streamlit as st
import torch

from minivit.attention.sinks import sinks
from minivit.runs import Run
from pages.parts.attention.features import components, similarity
from pages.parts.attention.methods import View
from pages.parts.attention.sinks import attention_sinks, statistics_of
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.url import bind_to_url, int_param


def tokens_section(run: Run, epoch: int, image: ImageId, view: View) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.header("Sinks and features", anchor=False)
    st.caption("Is a bright patch of a map an attention sink? Which patches does the model represent alike?")
    if not st.toggle("Show sinks and features", key="tokens", bind="query-params"):
        return
    if view.masked:
        st.caption("Computed from the complete image, without masking.")
    config = run.config.model
    result = sinks(statistics_of(run, epoch, image), view.head, config.num_patches)
    attention_sinks(result, view, config)
    st.subheader("Which patches are alike?", anchor=False)
    patch = view.token - 1 if view.token else result.top_patch(view.layer)
    if not view.token:
        st.caption(
            f"CLS is selected above, so this is for p{patch}, the most attended patch of layer {view.layer + 1}."
        )
    other = _pick_other(run, image)
    similarity(run, epoch, image, other, view.layer, patch)
    st.subheader("Principal components of the patches", anchor=False)
    components(run, epoch, image, other, view.layer)


def _pick_other(run: Run, image: ImageId) -> int:
    """A second test image to compare with; by default the next one of the same class."""
    labels = cache.test_set(run).labels
    following = 0
    if isinstance(image, int):
        same = torch.roll(labels == labels[image], -image - 1)  # from the next image to this one
        following = (image + 1 + int(same.int().argmax())) % len(labels)
    other = int_param("other", range(len(labels)), following)
    return bind_to_url("other", other, st.number_input, "Compare with test image", 0, len(labels) - 1, width=220)
