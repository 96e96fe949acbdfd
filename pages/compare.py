"""Compare: the same images over training, before and after, and in two runs, on one scale."""

import streamlit as st

from minivit.attention import write_head
from minivit.runs import Checkpoint
from pages.parts.compare.agreement import agreement, agreement_of_maps, compared_predictions
from pages.parts.compare.columns import columns, common_scale, notes, value_table
from pages.parts.compare.over_training import attention_over_training, metric_images
from pages.parts.compare.pickers import (
    OF_TWO,
    pick_layers_and_heads,
    pick_one,
    pick_second_run,
    pick_selection,
    select_images,
)
from pages.parts.components.scrub import RunMaps, scrub
from pages.parts.runs.manage import run_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep, controls_above, frame
from pages.parts.shell.pickers import pick_epoch, pick_run
from pages.parts.shell.url import is_presented, open_page

with frame(
    "Compare",
    "The same test images at every checkpoint, on one absolute scale. Click a row to open it in Attention.",
):
    controls, pictures = controls_above()
    with controls:
        boxes = st.columns([1.3, 1, 0.9, 1.6, 1.2])  # the best epoch stands beside the slider
        with boxes[0]:
            run = pick_run()
        with boxes[1]:
            second = pick_second_run(run)
        with boxes[2]:
            before = pick_epoch(run, "Before: epoch", "before", first=True)
        with boxes[3]:
            after = pick_epoch(run, "After: epoch")
        with boxes[4]:
            selection = pick_selection(second is not None)
        runs = [run, second] if second else [run]
        layers, heads = pick_layers_and_heads(runs)

    test_set = cache.test_set(run)
    other_run = second if selection in OF_TWO else None
    images = select_images(selection, len(test_set), lambda: compared_predictions(run, before, after, other_run))
    if not images:
        raise NextStep("No test images match. Choose another selection or other epochs.")
    if is_presented():
        with controls:
            images = [pick_one(images)]
    ends = [Checkpoint(before), Checkpoint(after)]
    head_names = [write_head(head) for head in heads]
    run_maps = []
    for each_run, layer in zip(runs, layers, strict=True):
        always = ends if each_run == run else []
        over_training = attention_over_training(each_run, images, layer - 1, heads, always)
        run_maps.append(RunMaps(each_run, over_training, head_names))
    num_measured = len(metric_images(run))
    with pictures:
        click = scrub(
            test_set.images[images].numpy(),
            run_maps,
            **columns(run_maps, ends[0]),
            start=ends[1],
            labels=test_set.labels[images].tolist(),
            titles=[f"{index}: {test_set.classes[test_set.labels[index]]}" for index in images],
            scale=common_scale(runs),
            num_measured=num_measured,
            key="compare_scrub",
        )
        if second:
            agreement(run, after, second)
            agreement_of_maps(run, after, second)
        st.caption(notes(run_maps, num_measured))
        for note in dict.fromkeys(each_run.config.train_loss_note for each_run in runs):
            st.caption(note)
        with st.expander("Values of the curves", key="compare_values"):
            value_table(run_maps[0])
        for each_run, title in zip(runs, ("Settings", "Settings of the second run"), strict=False):
            run_settings(each_run, title)
    if click is not None:
        open_page(
            "attention",
            run=run.id,
            epoch=click.checkpoint.epoch,
            image=images[click.image],
            layer=layers[0],
            head=head_names[0],
        )
