"""Compare: the same images, before and after, on one scale."""

import streamlit as st

from minivit.attention import Head, write_head
from minivit.figures import spread_over
from pages.parts import cached
from pages.parts.frame import frame, go, head_param, linked, pick_epoch, pick_run, set_params, whole
from pages.parts.maps import Caption, maps
from pages.parts.spread import spread

NUM_IMAGES = 8
CHOICES = {
    "any": "Right or wrong",
    "mended": "Wrong before, right after",
    "lost": "Right before, wrong after",
    "wrong": "Wrong after",
}

with frame(
    "Compare",
    "The same held-out images before and after, attention on one absolute scale. Click a row to look inside.",
):
    which, before, after = st.columns([1.6, 1, 1], gap="large")
    with which:
        run = pick_run()
    with before:
        first = pick_epoch(run, "Before: epoch", "before", first=True)
    with after:
        last = pick_epoch(run, "After: epoch")
    held_out = cached.split(run.config)[1]
    said = {first: cached.predictions(run, first), last: cached.predictions(run, last)}
    num_layers, num_heads, num_tokens = (
        run.config.model.depth,
        run.config.model.num_heads,
        run.config.model.num_patches + 1,
    )

    boxes = st.columns([2, 1, 1])
    choice = boxes[0].selectbox("Images", CHOICES, format_func=CHOICES.__getitem__, key="images", bind="query-params")
    layer, head = whole("layer", range(1, num_layers + 1), num_layers), head_param(num_heads)
    if num_layers > 1:
        layers = range(1, num_layers + 1)
        layer = linked("layer", layer, lambda **how: boxes[1].selectbox("Layer", layers, **how))
    if num_heads > 1:
        heads: list[Head] = ["mean", "max", *range(num_heads)]
        head = linked(
            "head", head, lambda **how: boxes[2].selectbox("Head", heads, format_func=write_head, **how), write_head
        )
    set_params(layer=layer, head=write_head(head))

    fits = {
        "any": said[last].labels >= 0,
        "mended": ~said[first].right & said[last].right,
        "lost": said[first].right & ~said[last].right,
        "wrong": ~said[last].right,
    }
    fitting = fits[choice].nonzero()[0]
    chosen = fitting[spread_over(len(fitting), NUM_IMAGES)].tolist() if len(fitting) else []
    if not chosen:
        st.info("No held-out image fits this choice. Choose other images or epochs.")
        st.stop()
    names = (
        "untrained" if first == 0 else f"epoch {first}",
        f"epoch {last}" if last != first else f"epoch {last} again",
    )
    columns = {
        name: cached.cls_maps(run, epoch, chosen, layer - 1, head)
        for name, epoch in zip(names, (first, last), strict=True)
    }
    captions = {
        name: [
            Caption(
                f"{held_out.classes[said[epoch].predicted[i]]} {said[epoch].confidence[i]:.0%}",
                bool(said[epoch].right[i]),
            )
            for i in chosen
        ]
        for name, epoch in zip(names, (first, last), strict=True)
    }
    spread(columns, [said[first].accuracy, said[last].accuracy])
    picked = maps(
        held_out.images[chosen].numpy(), columns, key="compare_maps", captions=captions, difference=names,
        titles=[f"{i}: {held_out.classes[held_out.labels[i]]}" for i in chosen],
        scale=cached.run_scale(run), uniform=1 / num_tokens,
    )  # fmt: skip
    if picked is not None:
        go("attention", run=run.id, epoch=last, image=chosen[picked], layer=layer, head=write_head(head))
