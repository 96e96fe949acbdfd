"""Attention of all layers followed from CLS to the patches, over images; at depth 1 the CLS map instead."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import write_head
from minivit.attention.heads import overlay_maps, uniform_overlay
from minivit.attention.methods import unavailable
from minivit.data.image_set import evenly_spaced
from minivit.figures import attention_scale
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from pages.parts.components.maps import Caption, maps
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.url import go
from pages.parts.shell.wording import escape_markdown

NUM_IMAGES = 8


def overlays(run: Run, checkpoint: Checkpoint) -> None:
    """Some test images, each beside its map laid over it; a click opens one on the Attention page."""
    config, test_set = run.config.model, cache.split(run.config)[1]
    reason = unavailable("rollout", config)
    if reason:
        st.header("CLS map", anchor=False)
        st.caption(
            f":material/block: Attention rollout is switched off. {escape_markdown(reason)} Here it is, over images."
        )
    else:
        st.header("Attention rollout", anchor=False)
        st.caption(
            "What reaches CLS from each patch through all layers, heads averaged, residual paths counted. ViT's figure "
            "6 (arXiv 2010.11929), by the formula of Abnar & Zuidema (arXiv 2005.00928). Click one to look inside."
        )
    chosen = evenly_spaced(len(test_set), NUM_IMAGES)
    probs, shown = _overlays(str(run.path), checkpoint, run)
    labels, uniform = test_set.labels[chosen].tolist(), uniform_overlay(config)
    said = [
        Caption(f"{test_set.classes[answer]} {row[answer]:.0%}", bool(answer == label))
        for row, answer, label in zip(probs, probs.argmax(1), labels, strict=True)
    ]
    name = "CLS map" if reason else "rollout"
    opened = maps(
        test_set.images[chosen].numpy(), {name: shown}, key="anatomy_overlays", scale=_scale(run), uniform=uniform,
        quantity="Attention" if reason else "Rollout",
        uniform_name="" if reason else "uniform attention",
        titles=[f"{image}: {test_set.classes[label]}" for image, label in zip(chosen, labels, strict=True)],
        captions={name: said}, layout="strip",
    )  # fmt: skip
    if opened is not None:
        method = "cls_map" if reason else "rollout"
        go(
            "attention",
            run=run.id,
            epoch=checkpoint.epoch,
            image=chosen[opened],
            method=method,
            head=write_head("mean"),
        )


def _scale(run: Run) -> tuple[float, float]:
    """One for all checkpoints: that of the newest weights."""
    _, shown = _overlays(str(run.path), cache.newest_readable(run), run)
    return attention_scale(shown, num_tokens=round(1 / uniform_overlay(run.config.model)))


@memoize("Following attention through all layers")
def _overlays(path: str, checkpoint: Checkpoint, _run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    test_set = cache.split(_run.config)[1]
    with threads_for(_run.config):
        return overlay_maps(cache.model_of(_run, checkpoint), test_set.images[evenly_spaced(len(test_set), NUM_IMAGES)])
