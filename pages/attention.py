"""Attention: one image, every layer, head and patch."""

import streamlit as st

from minivit.attention import write_head
from pages.parts.attention.export import take_along
from pages.parts.attention.faithfulness import trusted
from pages.parts.attention.methods import absolute_max, caveats, explain, pick_method, reading, values, with_patches_off
from pages.parts.attention.next_match import next_image
from pages.parts.attention.probabilities import probabilities
from pages.parts.components.gallery import Title, gallery
from pages.parts.components.inspector import inspector
from pages.parts.shell import cache
from pages.parts.shell.frame import controls_above, frame
from pages.parts.shell.pickers import head_param, pick_epoch, pick_image, pick_run
from pages.parts.shell.url import int_param, off_param, set_params, token_name, token_param

with frame(
    "Attention",
    "What the tokens of one image look at. Point at a patch to see where it looks; click or tap it to stay there.",
):
    controls, pictures = controls_above()
    with controls:
        which, when, number = st.columns([2, 2, 1.4], gap="medium")
    with which:
        run = pick_run()
    with when:
        epoch = pick_epoch(run)
    test_set = cache.split(run.config)[1]
    with number:
        image = pick_image(len(test_set))
    classes, label = test_set.classes, int(test_set.labels[image])
    probs, attn = cache.attention(run, epoch, image)
    num_layers, num_heads, num_tokens, _ = attn.shape
    layer = int_param("layer", range(1, num_layers + 1), num_layers) - 1
    head, token, off = head_param(num_heads), token_param(num_tokens), off_param(num_tokens)
    with controls:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            asked = pick_method(run.config.model, classes, int(probs.argmax()))
            next_image(cache.predictions(run, epoch), classes, image)
        explain(asked, run.config.model)
    without, shown = None, values(run, epoch, image, asked)
    if off:
        without, attn_without = with_patches_off(run, epoch, image, off)
        shown = attn_without if asked.method == "cls_map" else shown
    top = absolute_max(run, asked)

    with pictures:
        inspector(
            test_set.images[image].numpy(), shown, patch_size=run.config.model.patch_size, layer=layer, head=head,
            token=token, off=off, key="attention_inspector", absolute_max=top,
            reading=reading(asked, classes, run.config.model, num_tokens - len(off), top),
            title=f"image {image}: {classes[label]}, called {classes[probs.argmax()]} with {probs.max():.0%}",
            on_pick=lambda picked: set_params(
                layer=picked.layer + 1, head=write_head(picked.head), token=token_name(picked.token)
            ),
            on_off=lambda tokens: set_params(off=",".join(map(token_name, tokens)) or None),
        )  # fmt: skip
        caveats(asked, off)
        probabilities(classes, probs, label, without, len(off))
    with st.expander("Other images"):
        near = list(range(max(0, image - 6), min(len(test_set), image + 18)))
        other = gallery(
            test_set.images[near].numpy(), [Title(i, test_set.classes[test_set.labels[i]]) for i in near],
            key="attention_others", label="Other test images", selected=image,
        )  # fmt: skip
        if other is not None:
            set_params(image=other)
            st.rerun()
    trusted(run, epoch, image, asked, layer, head)
    take_along(run, epoch, image, layer, head)
