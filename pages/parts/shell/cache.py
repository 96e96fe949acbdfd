"""Memoised calls into `minivit`: images, models, predictions and attention of a run's checkpoints."""

import threading
from collections.abc import Hashable
from contextlib import suppress

import numpy as np
import streamlit as st
import torch
from cachetools import TTLCache, cached
from cachetools.keys import hashkey
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from minivit.attention import Head, attend, cls_map
from minivit.config import Dataset, TrainConfig
from minivit.data import ImageSet, load_images, load_split
from minivit.errors import RunError
from minivit.export import ImageExport, model_scale
from minivit.inference import Predictions, predict
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run
from pages.parts.shell.memoize import memoize
from pages.parts.shell.wording import escape_markdown

# Two runs with the same values of these settings see the same images.
SAME_IMAGES = ("dataset", "data_dir", "classes", "images_per_class", "split", "imported")
PROBE_SECONDS = 5  # maximum age of the checkpoint that a live page shows


def _images_key(config: TrainConfig) -> Hashable:
    return (*(getattr(config, name) for name in SAME_IMAGES), config.model.img_size, config.model.in_chans)


@memoize(key=_images_key)
def split(config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    """Train and test images of these settings, with a progress bar while they are loaded."""
    bar = st.progress(0.0, "Loading the images")
    try:
        return load_split(config, lambda text, done, total: show_progress(bar, text, done, total))
    finally:
        bar.empty()


def show_progress(bar: DeltaGenerator, text: str, done: int, total: int) -> None:
    """Sets a progress bar; class names in its text are shown literally."""
    bar.progress(min(1.0, done / max(total, 1)), escape_markdown(text))


@memoize("Loading the images")
def samples(
    dataset: Dataset, data_dir: str, classes: tuple[str, ...], img_size: int, in_chans: int, per_class: int
) -> ImageSet:
    """The first images of each class of the train part, class by class."""
    images = load_images(
        dataset,
        data_dir=data_dir,
        classes=classes,
        img_size=img_size,
        in_chans=in_chans,
        images_per_class=per_class,
    )
    return images.select(images.labels.argsort(stable=True))


def _checkpoint_key(run: Run, checkpoint: int | Checkpoint, *args: Hashable) -> Hashable:
    """The same for an epoch and for the checkpoint at its end."""
    return hashkey(run, Checkpoint.of(checkpoint), *args)


@memoize(key=_checkpoint_key)
def model_of(run: Run, checkpoint: int | Checkpoint) -> MiniViT:
    """The run's model at a checkpoint or after an epoch."""
    return run.load_model(checkpoint)


def newest_readable(run: Run) -> Checkpoint:
    """The last checkpoint whose weights can be read; scales that all checkpoints share come from it."""
    for checkpoint in reversed(run.checkpoints()):
        with suppress(RunError):  # reported where that checkpoint itself is drawn
            model_of(run, checkpoint)
            return checkpoint
    raise RunError(f"None of the weights of the run {run.id} can be read. Choose another run.")


@memoize("Predicting the test images")
def predictions(run: Run, epoch: int) -> Predictions:
    """Predictions for the run's test images after `epoch`."""
    test_set = split(run.config)[1]
    return predict(model_of(run, epoch), test_set.images, test_set.labels)


@memoize()
def attention(run: Run, epoch: int, image: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (K,) and the attention of all layers (L, H, N, N) for one test image."""
    probs, attn = attend(model_of(run, epoch), split(run.config)[1].images[image : image + 1])
    return probs[0].numpy(), attn[0].numpy()


@memoize(key=_checkpoint_key)
def cls_maps(
    run: Run, checkpoint: int | Checkpoint, images: tuple[int, ...], layer: int, head: Head
) -> NDArray[np.float32]:
    """CLS maps (B, N-1) of some test images in one layer: the mean, the maximum or one of its heads."""
    _, attn = attend(model_of(run, checkpoint), split(run.config)[1].images[list(images)])
    return cls_map(attn[:, layer], head).numpy()


def recent_checkpoint(run: Run, active: bool) -> Checkpoint | None:
    """The newest checkpoint of a run; while it trains, one that is some seconds old. None where there is none.

    All viewers get the same one, so a training that finishes an epoch a second is not evaluated every second.
    """
    return _recent_checkpoint(run) if active else _newest_checkpoint(run)


@cached(TTLCache(32, PROBE_SECONDS), lock=threading.Lock())
def _recent_checkpoint(run: Run) -> Checkpoint | None:
    return _newest_checkpoint(run)


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    checkpoints = run.checkpoints()
    return checkpoints[-1] if checkpoints else None


def run_scale(run: Run) -> tuple[float, float]:
    """The absolute color scale of a run, the same for all its images and epochs: that of its newest weights."""
    for epoch in reversed(run.epochs()):
        with suppress(RunError):  # reported where that epoch itself is drawn
            return checkpoint_scale(run, Checkpoint(epoch))
    return 0.0, 4 / (run.config.model.num_patches + 1)


@memoize()
def checkpoint_scale(run: Run, checkpoint: Checkpoint) -> tuple[float, float]:
    """The absolute color scale of the attention of one checkpoint."""
    return model_scale(model_of(run, checkpoint), split(run.config)[1])


def one_image(run: Run, epoch: int, image: int) -> ImageExport:
    """One test image with its prediction and attention, ready for export."""
    test_set = split(run.config)[1]
    probs, attn = attention(run, epoch, image)
    return ImageExport(
        run_id=run.id,
        epoch=epoch,
        index=image,
        image=test_set.images[image],
        label=int(test_set.labels[image]),
        classes=test_set.classes,
        probs=torch.from_numpy(probs),
        attn=torch.from_numpy(attn),
        scale=run_scale(run),
    )


@memoize("Drawing BertViz's head view")
def bertviz(run: Run, epoch: int, image: int, layer: int, layers: tuple[int, ...]) -> str:
    """BertViz's head view of one test image, with these layers to choose from."""
    return one_image(run, epoch, image).bertviz(layer, list(layers))


@memoize("Drawing BertViz's model view")
def bertviz_model(run: Run, epoch: int, image: int, layers: tuple[int, ...]) -> str:
    """BertViz's model view of one test image, of these layers."""
    return one_image(run, epoch, image).bertviz_model(list(layers))
