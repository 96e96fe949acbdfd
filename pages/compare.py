"""Compare: the same images over training, before and after, and in two runs, on one scale."""

import streamlit as st

from minivit.attention import write_head
from minivit.data.image_set import evenly_spaced
from minivit.runs import Checkpoint
from pages.parts.compare.comparison_run import pick_second_run
from pages.parts.compare.over_training import NUM_METRIC_IMAGES, history
from pages.parts.components.scrub import Shown, scrub
from pages.parts.components.scrub.columns import about, columns, common_scale
from pages.parts.components.scrub.numbers import numbers
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep, controls_above, frame
from pages.parts.shell.pickers import pick_epoch, pick_heads, pick_layer, pick_run
from pages.parts.shell.url import go

NUM_IMAGES = 8
CHOICES = {
    "any": "Right or wrong",
    "mended": "Wrong before, right after",
    "lost": "Right before, wrong after",
    "wrong": "Wrong after",
}

with frame(
    "Compare",
    "The same test images at every checkpoint, on one absolute scale. Click a row to look inside.",
):
    controls, pictures = controls_above()
    with controls:
        which, beside, start, end, what = st.columns([1.5, 1, 1, 1, 1.2])
        with which:
            run = pick_run()
        with beside:
            second = pick_second_run(run)
        with start:
            first = pick_epoch(run, "Before: epoch", "before", first=True)
        with end:
            last = pick_epoch(run, "After: epoch")
        choice = what.selectbox("Images", CHOICES, format_func=CHOICES.__getitem__, key="images", bind="query-params")
        model, model2 = run.config.model, (second or run).config.model
        boxes = st.columns([1, 1, 1, 2.7])
        with boxes[0]:
            layers = [pick_layer(model.depth)]
        num_heads = min(model.num_heads, model2.num_heads)
        with boxes[model.depth > 1]:
            heads = pick_heads(num_heads, each=second is None)
        with boxes[(model.depth > 1) + (num_heads > 1)]:
            layers += [pick_layer(model2.depth, "Layer of the second", "layer2")] if second else []

    test_set = cache.split(run.config)[1]
    said = {epoch: cache.predictions(run, epoch) for epoch in (first, last)}
    fits = {
        "any": said[last].labels >= 0,
        "mended": ~said[first].correct & said[last].correct,
        "lost": said[first].correct & ~said[last].correct,
        "wrong": ~said[last].correct,
    }
    fitting = fits[choice].nonzero()[0]
    chosen = fitting[evenly_spaced(len(fitting), NUM_IMAGES)].tolist() if len(fitting) else []
    if not chosen:
        raise NextStep("No test image fits this choice. Choose other images or epochs.")
    num_measured = min(NUM_METRIC_IMAGES, len(test_set))
    before, after = Checkpoint(first), Checkpoint(last)
    names = [write_head(head) for head in heads]
    shown = [
        Shown(one, history(one, chosen, layer - 1, heads, [before, after] if one is run else []), names)
        for one, layer in zip([run, *([second] if second else [])], layers, strict=True)
    ]
    with pictures:
        opened = scrub(
            test_set.images[chosen].numpy(), shown, **columns(shown, before, after), start=after,
            labels=test_set.labels[chosen].tolist(),
            titles=[f"{i}: {test_set.classes[test_set.labels[i]]}" for i in chosen],
            scale=common_scale([one.run for one in shown]), num_measured=num_measured,
            key="compare_scrub",
        )  # fmt: skip
        st.caption(about(shown, num_measured))
        with st.expander("The curves in numbers"):
            numbers(shown[0])
    if opened is not None:
        head = write_head(heads[0])
        go(
            "attention",
            run=run.id,
            epoch=opened.checkpoint.epoch,
            image=chosen[opened.image],
            layer=layers[0],
            head=head,
        )
