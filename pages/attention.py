"""Attention: one image, every layer, head and patch."""

import streamlit as st

from minivit.attention import write_head
from pages.parts.attention.exercises import exercise_bar, exercise_list, what_if
from pages.parts.attention.export import export_section
from pages.parts.attention.faithfulness import faithfulness_section
from pages.parts.attention.images import membership, next_match, other_images, pick_picture
from pages.parts.attention.logit import logit_section
from pages.parts.attention.methods import (
    about,
    absolute_max,
    method_values,
    notes,
    pick_method,
    probabilities,
    probabilities_of,
    untrained_values,
    value_format,
    view_of_url,
)
from pages.parts.attention.tokens import tokens_section
from pages.parts.attention.weight import weight_section
from pages.parts.components.inspector import inspector
from pages.parts.runs.manage import run_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import controls_above, frame
from pages.parts.shell.pickers import pick_epoch, pick_image, pick_run
from pages.parts.shell.progress import prediction_progress
from pages.parts.shell.url import set_params, token_name

with frame(
    "Attention",
    "What the tokens of one image attend to. Hover over a patch to see its attention; click or tap to select it.",
):
    controls, pictures = controls_above()
    with controls:
        run_column, epoch_column, image_column = st.columns([2, 2, 1.4], gap="medium")
        method_column, picture_column = st.columns([4, 1.4], gap="medium", vertical_alignment="bottom")
    with run_column:
        run = pick_run()
    with epoch_column:
        epoch = pick_epoch(run)
    test_set = cache.test_set(run)
    with image_column:
        index = pick_image(len(test_set))
    with picture_column:
        picture = pick_picture(run)
    image = picture or index
    classes, label, config = test_set.classes, cache.image_label(run, image), run.config.model
    view, probs = view_of_url(config), probabilities_of(run, epoch, image)
    with method_column, st.container(horizontal=True, vertical_alignment="bottom"):
        selection = pick_method(config, classes[: config.num_classes], probs)
        predictions = cache.predictions(run, epoch) if config.num_classes else None
        if predictions:
            next_match(predictions, classes, image)
    if predictions:
        with controls:
            prediction_progress(run, epoch, predictions)
    masked_probs = probabilities_of(run, epoch, image, view.masked) if view.masked else None
    scale_max, untrained = absolute_max(run, selection), untrained_values(run, image, selection, view)

    with pictures:
        exercise_bar(run, epoch, image, view, label, predictions)
        inspector(
            cache.image_pixels(run, image)[0].numpy(),
            method_values(run, epoch, image, selection, view),
            view,
            untrained=untrained,
            patch_size=config.patch_size,
            key="attention_inspector",
            absolute_max=scale_max,
            value_format=value_format(selection, classes, config, len(view.masked), scale_max),
            title=cache.image_title(run, image),
            name=f"epoch {epoch}",
            prediction=probabilities(classes, probs, label, masked_probs, len(view.masked)),
            on_pick=lambda picked: set_params(
                layer=picked.layer + 1, head=write_head(picked.head), token=token_name(picked.token)
            ),
            on_mask=lambda tokens: set_params(off=list(map(token_name, tokens))),
        )
        if picture and config.num_classes:
            membership(run, epoch, picture)
        notes(run, selection.method, view, has_untrained=untrained is not None)
        what_if(run, epoch, image, selection, view, classes)
        about(selection.method, view, config)
        exercise_list(run, predictions)
    weight_section(run, epoch, image, view)
    tokens_section(run, epoch, image, view)
    other_images(test_set, index)
    if config.num_classes:
        logit_section(run, epoch, image, selection, classes)
        faithfulness_section(run, epoch, image, selection, view.layer, view.head)
    export_section(run, epoch, image, view.layer, view.head)
    run_settings(run)
