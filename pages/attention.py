"""Attention: one image, every layer, head and patch."""

import streamlit as st

from minivit.attention import write_head
from pages.parts import cached
from pages.parts.frame import (
    frame,
    head_param,
    pick_epoch,
    pick_image,
    pick_run,
    set_params,
    token_name,
    token_param,
    whole,
)
from pages.parts.gallery import Title, gallery
from pages.parts.inspector import inspector
from pages.parts.probabilities import probabilities
from pages.parts.take_along import take_along

with frame(
    "Attention",
    "What the tokens of one image look at. Point at a patch to see where it looks; click or tap it to stay there.",
):
    which, when, number = st.columns([2, 2, 1.4], gap="medium")
    with which:
        run = pick_run()
    with when:
        epoch = pick_epoch(run)
    held_out = cached.split(run.config)[1]
    with number:
        image = pick_image(len(held_out))
    probs, attn = cached.attention(run, epoch, image)
    num_layers, num_heads, num_tokens, _ = attn.shape
    layer = whole("layer", range(1, num_layers + 1), num_layers) - 1
    head = head_param(num_heads)
    token = token_param(num_tokens)
    true = held_out.classes[held_out.labels[image]]

    inspector(
        held_out.images[image].numpy(), attn, patch_size=run.config.model.patch_size, layer=layer, head=head,
        token=token, key="attention_inspector", on_pick=lambda picked: set_params(
            layer=picked.layer + 1, head=write_head(picked.head), token=token_name(picked.token)
        ),
        title=f"image {image}: {true}, called {held_out.classes[probs.argmax()]} with {probs.max():.0%}",
        absolute_max=cached.run_scale(run)[1],
    )  # fmt: skip
    st.caption(
        "CLS is the token that the answer is read from. In the last layer only what CLS looks at reaches the answer; "
        "what patches look at there is computed but never used."
    )
    probabilities(held_out.classes, probs, int(held_out.labels[image]))
    with st.expander("Other images"):
        near = list(range(max(0, image - 6), min(len(held_out), image + 18)))
        other = gallery(
            held_out.images[near].numpy(), [Title(i, held_out.classes[held_out.labels[i]]) for i in near],
            key="attention_others", label="Other held-out images", selected=image,
        )  # fmt: skip
        if other is not None:
            set_params(image=other)
            st.rerun()
    take_along(run, epoch, image, layer, head)
