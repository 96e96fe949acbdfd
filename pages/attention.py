"""Attention: one image, every layer, head and patch."""

import streamlit as st

from pages.parts.attention.description import about_method, map_notes
from pages.parts.attention.exercises import exercise_bar, exercise_list
from pages.parts.attention.export import export_section
from pages.parts.attention.faithfulness import faithfulness_section
from pages.parts.attention.logit import logit_section
from pages.parts.attention.maps import show_maps
from pages.parts.attention.other_images import next_match, other_images
from pages.parts.attention.own_pictures import pick_picture, save_or_remove
from pages.parts.attention.prediction import membership
from pages.parts.attention.selection import pick_method, view_of_url
from pages.parts.attention.tokens import tokens_section
from pages.parts.attention.values import class_probabilities
from pages.parts.attention.weight import weight_section
from pages.parts.attention.what_if import what_if
from pages.parts.runs.manage import run_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import controls_above, frame
from pages.parts.shell.pickers import pick_epoch, pick_image, pick_run
from pages.parts.shell.progress import prediction_progress

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
    classes = test_set.classes
    config = run.config.model
    view = view_of_url(config)
    with method_column, st.container(horizontal=True, vertical_alignment="bottom"):
        selection = pick_method(config, classes[: config.num_classes], class_probabilities(run, epoch, image))
        predictions = cache.predictions(run, epoch) if config.num_classes else None
        if predictions:
            next_match(predictions, classes, image)
        if picture:
            save_or_remove(run, picture)
    if predictions:
        with controls:
            prediction_progress(run, epoch, predictions)

    with pictures:
        exercise_bar(run, epoch, image, view, predictions)
        show_maps(run, epoch, image, selection, view)
        if picture and config.num_classes:
            membership(run, epoch, picture)
        map_notes(run, selection.method, view)
        what_if(run, epoch, image, selection, view)
        about_method(selection.method, view, config)
        exercise_list(run, predictions)
    weight_section(run, epoch, image, view)
    tokens_section(run, epoch, image, view)
    other_images(test_set, index)
    if config.num_classes:
        logit_section(run, epoch, image, selection)
        faithfulness_section(run, epoch, image, selection, view)
    export_section(run, epoch, image, view)
    run_settings(run)
