"""How one attention weight is computed, in the real numbers of one image."""

import numpy as np
import streamlit as st

from minivit.attention import head_title
from minivit.attention.image_attention import SoftmaxRow, softmax_row
from minivit.runs import Run
from pages.parts.components.inspector import View
from pages.parts.components.softmax import softmax
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.url import patch_params, set_params, token_name
from pages.parts.tour.bar import tour_stage


def weight_section(run: Run, epoch: int, image: ImageId, view: View) -> None:
    """The section; nothing is computed before the user turns it on. The tour frames a part of it."""
    with st.container(key="attention_weight_section"):
        st.header("How is one attention weight computed?", anchor=False, help=explain("Query, key, value"))
        st.caption("A patch as numbers, its token, the query times its key, and softmax.")
        if st.toggle("Show the numbers", key="weight", bind="query-params"):
            _numbers(run, epoch, image, view)


def _numbers(run: Run, epoch: int, image: ImageId, view: View) -> None:
    config = run.config.model
    head = view.head if isinstance(view.head, int) else 0
    row = _row(run, epoch, image, view.layer, head, view.token)
    tokens = np.r_[0, np.arange(config.num_prefix_tokens, config.num_tokens)]
    patches = patch_params("patch", config.num_patches + 1)
    weights = row.weights.numpy()[tokens[1:]]
    softmax(
        cache.image_pixels(run, image)[0].numpy(),
        row,
        tokens,
        patch_size=config.patch_size,
        query=view.token,
        patch=patches[0] - 1 if patches else int(weights.argmax()),
        title=f"layer {view.layer + 1}, {head_title(head)}",
        scale=cache.run_scale(run),
        stage=tour_stage(),
        key="attention_weight",
        on_pick=lambda patch: set_params(patch=token_name(patch + 1)),
    )
    if head != view.head and config.num_heads > 1:
        st.caption(
            f"Shows {head_title(head)}, because the {head_title(view.head)} has no query. Select another head above."
        )


@memoize()
def _row(run: Run, epoch: int, image: ImageId, layer: int, head: int, token: int) -> SoftmaxRow:
    index = token and token + run.config.model.num_registers
    return softmax_row(cache.model_of(run, epoch), cache.image_pixels(run, image), layer, head, index)
