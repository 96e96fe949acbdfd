"""Predictions: test images in green and red, and where the model confuses what."""

import streamlit as st

from minivit.data import num_without_class
from minivit.inference import precision_recall
from minivit.stats import wilson
from pages.parts.components.confusion import confusion
from pages.parts.components.gallery import Title, gallery
from pages.parts.predictions.filters import pick_filter, pick_order
from pages.parts.predictions.mistakes import mistakes
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, side_by_side
from pages.parts.shell.pickers import pick_epoch, pick_run
from pages.parts.shell.url import bind_to_url, go, int_param, set_params

ANSWERS = {"right": True, "wrong": False}
PER_PAGE = 96
MAX_CLASSES = 200  # of a confusion matrix, which has a cell for every two

with frame(
    "Predictions", "What the model says of the images it never trained on. Click an image to see what it looked at."
):
    which, when = st.columns([1, 1], gap="large")
    with which:
        run = pick_run()
    with when:
        epoch = pick_epoch(run)
    test_set, said = cache.split(run.config)[1], cache.predictions(run, epoch)
    classes = run.config.classes
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}

    table, images = side_by_side(pictures=1.7)
    with images:
        boxes = st.container(key="two_a_row").columns(4)
        true = pick_filter(boxes[0], "True class", "true", classes, "all")
        predicted = pick_filter(boxes[1], "Predicted class", "predicted", classes, "all")
        answer = pick_filter(boxes[2], "Answer", "answer", tuple(ANSWERS), "right or wrong")
        order = pick_order(boxes[3])
    with table:
        low, high = wilson(int(said.correct.sum()), len(said.labels))
        st.metric("test accuracy", f"{said.accuracy:.1%}", width="content")
        st.caption(
            f"{said.correct.sum():,} of {len(said.labels):,} right; 95 % interval {low:.1%} to {high:.1%} (Wilson). "
            f"Chance is {1 / len(classes):.0%}."
        )
        if run.config.imported and (num_unknown := num_without_class(test_set)):
            st.info(
                f"{num_unknown:,} of these images lie in folders whose name is no class of this model. No answer to "
                "them can be right, and they count as wrong here."
            )
        st.markdown("**Confusion matrix.** Click a cell to see its images.")
        shown = (numbers[true], numbers[predicted]) if true and predicted else None
        cell = None
        if len(classes) <= MAX_CLASSES:
            cell = confusion(said.confusion, classes, key="predictions_cell", selected=shown)
        else:
            st.caption(f"Too large to draw for {len(classes):,} classes; choose a true and a predicted class instead.")
        if cell is not None:
            picked_true, picked_predicted = (classes[c] for c in cell) if cell else (None, None)
            set_params(true=picked_true, predicted=picked_predicted, page=None)
            st.rerun()
        if shown and true != predicted:
            mistakes(run, epoch, *shown)
        precision, recall = precision_recall(said.confusion)
        st.dataframe(
            {"class": classes, "precision": precision, "recall": recall},
            column_config={
                name: st.column_config.ProgressColumn(name, format="percent", min_value=0, max_value=1, width=110)
                for name in ("precision", "recall")
            },
            hide_index=True,
        )
    with images:
        chosen = said.select(
            true=numbers.get(true),
            predicted=numbers.get(predicted),
            correct=ANSWERS[answer] if answer else None,
            order=order,
        )
        pages = range(1, (len(chosen) - 1) // PER_PAGE + 2)
        page = 1
        if len(pages) > 1:
            page = bind_to_url(
                "page", int_param("page", pages, 1), lambda **how: st.selectbox("Page", pages, width=120, **how)
            )
        num_fitting = len(chosen)
        chosen = chosen[(page - 1) * PER_PAGE : page * PER_PAGE]
        st.caption(f"{len(chosen)} of {num_fitting} images. T: true class, P: predicted class with its probability.")
        titles = [
            Title(
                int(i),
                classes[said.labels[i]],
                classes[said.predicted[i]],
                bool(said.correct[i]),
                f"{said.confidence[i]:.0%}",
            )
            for i in chosen
        ]
        picked = gallery(test_set.images[chosen].numpy(), titles, key="predictions_gallery", label="Test images")
        if picked is not None:
            go("attention", **{**st.query_params.to_dict(), "run": run.id, "epoch": epoch, "image": picked})
