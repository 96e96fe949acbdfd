"""Attention: one image, every layer, head and patch."""

import streamlit as st

from minivit.attention import write_head
from pages.parts.attention.export import export_section
from pages.parts.attention.faithfulness import faithfulness_section
from pages.parts.attention.methods import (
    absolute_max,
    caveats,
    explain,
    masked_attention,
    pick_method,
    reading,
    values,
)
from pages.parts.attention.next_match import next_match
from pages.parts.attention.probabilities import probabilities
from pages.parts.components.gallery import Title, gallery
from pages.parts.components.inspector import inspector
from pages.parts.shell import cache
from pages.parts.shell.frame import controls_above, frame
from pages.parts.shell.pickers import head_param, pick_epoch, pick_image, pick_run
from pages.parts.shell.url import int_param, off_param, set_params, token_name, token_param

with frame(
    "Attention",
    "What the tokens of one image attend to. Hover over a patch to see its attention; click or tap to select it.",
):
    controls, pictures = controls_above()
    with controls:
        run_column, epoch_column, image_column = st.columns([2, 2, 1.4], gap="medium")
    with run_column:
        run = pick_run()
    with epoch_column:
        epoch = pick_epoch(run)
    test_set = cache.split(run.config)[1]
    with image_column:
        image = pick_image(len(test_set))
    classes, label, config = test_set.classes, int(test_set.labels[image]), run.config.model
    probs, attn = cache.attention(run, epoch, image)
    num_layers, num_heads, num_tokens, _ = attn.shape
    layer = int_param("layer", range(1, num_layers + 1), num_layers) - 1
    head, token, masked = head_param(num_heads), token_param(num_tokens), off_param(num_tokens)
    with controls:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            selection = pick_method(config, classes, int(probs.argmax()))
            next_match(cache.predictions(run, epoch), classes, image)
        explain(selection.method)
    masked_probs, map_values = None, values(run, epoch, image, selection)
    if masked:
        masked_probs, masked_attn = masked_attention(run, epoch, image, tuple(masked))
        map_values = masked_attn if selection.method.is_attention else map_values
    scale_max = absolute_max(run, selection)

    with pictures:
        predicted = int(probs.argmax())
        inspector(
            test_set.images[image].numpy(),
            map_values,
            patch_size=config.patch_size,
            layer=layer,
            head=head,
            token=token,
            off=masked,
            key="attention_inspector",
            absolute_max=scale_max,
            reading=reading(selection, classes, config, num_tokens - len(masked), scale_max),
            title=f"Image {image}. Predicted: {classes[predicted]} ({probs[predicted]:.0%}). True: {classes[label]}",
            on_pick=lambda picked: set_params(
                layer=picked.layer + 1, head=write_head(picked.head), token=token_name(picked.token)
            ),
            on_off=lambda tokens: set_params(off=",".join(map(token_name, tokens)) or None),
        )
        caveats(selection.method, len(masked))
        probabilities(classes, probs, label, masked_probs, len(masked))
    with st.expander("Other images"):
        indices = list(range(max(0, image - 6), min(len(test_set), image + 18)))
        titles = [Title(index, classes[test_set.labels[index]]) for index in indices]
        images = test_set.images[indices].numpy()
        clicked = gallery(images, titles, key="attention_others", label="Other test images", selected=image)
        if clicked is not None:
            set_params(image=clicked)
            st.rerun()
    faithfulness_section(run, epoch, image, selection, layer, head)
    export_section(run, epoch, image, layer, head)
