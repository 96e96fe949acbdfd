"""Predictions: test images in green and red, and which classes the model confuses."""

import streamlit as st

from pages.parts.components.confusion import confusion
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.predictions.accuracy import accuracy, class_table, reliability, unseen_classes
from pages.parts.predictions.filters import RESULTS, filter_heading, pick_filters
from pages.parts.predictions.mistakes import hover_maps, mistakes
from pages.parts.runs.manage import run_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep, frame, side_by_side
from pages.parts.shell.glossary import explain
from pages.parts.shell.pickers import pick_epoch, pick_run
from pages.parts.shell.progress import prediction_progress
from pages.parts.shell.url import bind_to_url, int_param, open_page, set_params

PER_PAGE = 96
MAX_CLASSES = 200  # of a confusion matrix, which has a cell for every pair

with frame("Predictions", "The model's predictions for test images. Click an image to see what the model attended to."):
    run_column, epoch_column = st.columns([1, 1], gap="large")
    with run_column:
        run = pick_run()
    with epoch_column:
        epoch = pick_epoch(run)
    test_set = cache.test_set(run)
    predictions = cache.predictions(run, epoch)
    prediction_progress(run, epoch, predictions)
    if not len(predictions):
        raise NextStep("The predictions appear here as soon as the first are computed.")
    classes = run.config.classes
    indices: dict[str | None, int] = {name: index for index, name in enumerate(classes)}

    table, images = side_by_side(pictures=1.7)
    with images, st.container(gap="xsmall"):
        true, predicted, result, order = pick_filters(predictions, classes)
    with table:
        accuracy(predictions, run, test_set)
        st.markdown("**Confusion matrix.** Click a cell to see its images.", help=explain("Confusion matrix"))
        selected = (indices[true], indices[predicted]) if true and predicted else None
        cell = None
        if len(classes) <= MAX_CLASSES:
            cell = confusion(predictions.confusion, classes, key="predictions_cell", selected=selected)
        else:
            st.caption(f"Too large to draw for {len(classes):,} classes; select a true and a predicted class instead.")
        if cell is not None:
            picked_true, picked_predicted = (classes[index] for index in cell) if cell else (None, None)
            set_params(true=picked_true, predicted=picked_predicted, page=None)
            st.rerun()
        if selected and true != predicted:
            mistakes(run, epoch, *selected)
        class_table(predictions, classes)
        reliability(predictions)
        unseen_classes(run, epoch)
        run_settings(run)
    with images:
        matches = predictions.select(
            true=indices.get(true),
            predicted=indices.get(predicted),
            correct=RESULTS[result] if result else None,
            order=order,
        )
        pages = range(1, (len(matches) - 1) // PER_PAGE + 2)
        page = int_param("page", pages, 1)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            filter_heading(true, predicted, result)
            if len(pages) > 1:
                page = bind_to_url("page", page, st.selectbox, "Page", pages, width=90)
        on_page = matches[(page - 1) * PER_PAGE : page * PER_PAGE]
        st.caption(f"{len(on_page)} of {len(matches):,} images. T: true class, P: predicted class and its probability.")
        titles = [
            GalleryItem(
                int(i),
                classes[predictions.labels[i]],
                classes[predictions.predicted[i]],
                bool(predictions.correct[i]),
                f"{predictions.confidence[i]:.0%}",
            )
            for i in on_page
        ]
        click = gallery(
            test_set.images[on_page].numpy(),
            titles,
            key="predictions_gallery",
            label="Test images",
            size=96,
            hover=hover_maps(run, epoch, on_page),
        )
        if click is not None:
            open_page("attention", **{**st.query_params.to_dict(), "run": run.id, "epoch": epoch, "image": click})
