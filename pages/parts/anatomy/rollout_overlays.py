"""Attention rollout over some test images; for a model with one layer the CLS map instead."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import METHODS, write_head
from minivit.attention.maps import attend
from minivit.data.image_set import evenly_spaced
from minivit.figures import attention_scale
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from pages.parts.components.maps import Caption, maps
from pages.parts.shell import cache
from pages.parts.shell.cache import newest_readable
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.url import open_page

NUM_IMAGES = 8


def overlays(run: Run, checkpoint: Checkpoint) -> None:
    """Some test images, each next to its map over it; a click opens one on the Attention page."""
    config = run.config.model
    test_set = cache.test_set(run)
    reason = METHODS["rollout"].unavailable(config)
    name, title, quantity = ("cls_map", "CLS map", "Attention") if reason else ("rollout", "rollout", "Rollout")
    st.header("CLS map" if reason else "Attention rollout", anchor=False, help=reason or explain("Attention rollout"))
    st.markdown("Click an image to open it on the Attention page.")
    indices = evenly_spaced(len(test_set), NUM_IMAGES)
    probs, values = _overlays(run, checkpoint, name)
    labels = test_set.labels[indices].tolist()
    captions = config.num_classes and [
        Caption(f"{test_set.classes[predicted]} {row[predicted]:.1%}", bool(predicted == label))
        for row, predicted, label in zip(probs, probs.argmax(1), labels, strict=True)
    ]
    _, newest = _overlays(run, newest_readable(run), name)  # one scale for all checkpoints
    uniform = METHODS[name].uniform(config, config.num_tokens)
    assert uniform is not None
    click = maps(
        test_set.images[indices].numpy(),
        {title: values},
        key="anatomy_overlays",
        scale=attention_scale(newest, num_tokens=round(1 / uniform)),
        uniform=uniform,
        quantity=quantity,
        uniform_name="" if reason else "uniform attention",
        titles=[f"{image}: {test_set.classes[label]}" for image, label in zip(indices, labels, strict=True)],
        captions={title: captions} if captions else {},
    )
    if not reason:
        st.caption(
            "Attention from CLS to each patch through all layers, mean over heads, with the residual connections. ViT, "
            "figure 6 (arXiv 2010.11929), with the formula of Abnar & Zuidema (arXiv 2005.00928)."
        )
    if click is not None:
        head = write_head("mean")
        open_page("attention", run=run.id, epoch=checkpoint.epoch, image=indices[click], method=name, head=head)


@memoize("Computing the maps of all layers")
def _overlays(run: Run, checkpoint: Checkpoint, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    test_set = cache.test_set(run)
    model = cache.model_of(run, checkpoint)
    images = test_set.images[evenly_spaced(len(test_set), NUM_IMAGES)]
    with threads_for(run.config):
        probs = np.concatenate([attend(model, image)[0].cpu().numpy() for image in images.split(1)])
        return probs, METHODS[name].attribute(model, images).cpu().numpy()
