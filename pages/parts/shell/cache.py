"""Calls into `minivit` that are worth remembering: images, predictions and attention by run and epoch, bounded."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from minivit.attention import Head, attend, cls_map
from minivit.attention.over_training import History, Look, Measured, gather, look, measure
from minivit.config import Dataset, TrainConfig
from minivit.data import ImageSet, load_images, load_split
from minivit.data.image_set import evenly_spaced
from minivit.errors import RunError
from minivit.export import ImageExport, model_scale
from minivit.inference import Predictions, predict
from minivit.machine import threads_for
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run
from pages.parts.shell.memoize import memoize
from pages.parts.shell.wording import escape_markdown

# Two runs that agree here see the same images.
SAME_IMAGES = ("dataset", "data_dir", "classes", "images_per_class", "split", "imported")

PROBE_SECONDS = 5  # how old the weights may be that a live page looks into


def split(config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    """Train and test images of these settings, with a progress bar the first time."""
    return _split(
        (*(getattr(config, name) for name in SAME_IMAGES), config.model.img_size, config.model.in_chans), config
    )


@memoize()
def _split(key: tuple[object, ...], _config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    bar = st.progress(0.0, "Loading the images")
    try:
        return load_split(_config, lambda what, done, total: show(bar, what, done, total))
    finally:
        bar.empty()


def show(bar: DeltaGenerator, what: str, done: int, total: int) -> None:
    """Sets a progress bar; names of classes in it are shown as they are."""
    bar.progress(min(1.0, done / max(total, 1)), escape_markdown(what))


@memoize("Loading the images")
def samples(
    dataset: Dataset, data_dir: str, classes: tuple[str, ...], img_size: int, in_chans: int, per_class: int
) -> ImageSet:
    """The first images of each class of the train part, class by class."""
    found = load_images(
        dataset, data_dir=data_dir, classes=classes, img_size=img_size, in_chans=in_chans, images_per_class=per_class
    )  # fmt: skip
    return found.select(found.labels.argsort(stable=True))


def model_of(run: Run, epoch: int | Checkpoint) -> MiniViT:
    """The run's model after `epoch`."""
    return _model(str(run.path), epoch, run)


@memoize()
def _model(path: str, epoch: int | Checkpoint, _run: Run) -> MiniViT:
    return _run.load_model(epoch)


def newest_readable(run: Run) -> Checkpoint:
    """The last checkpoint whose weights can be read; scales that all checkpoints share come from it."""
    for checkpoint in reversed(run.checkpoints()):
        with suppress(RunError):  # reported where that checkpoint itself is drawn
            model_of(run, checkpoint)
            return checkpoint
    raise RunError(f"None of the weights of the run {run.id} can be read. Choose another run.")


def predictions(run: Run, epoch: int) -> Predictions:
    """What the model of `epoch` says of the run's test images."""
    return _predictions(str(run.path), epoch, run)


@memoize("Predicting the test images")
def _predictions(path: str, epoch: int, _run: Run) -> Predictions:
    test_set = split(_run.config)[1]
    return predict(model_of(_run, epoch), test_set.images, test_set.labels)


def attention(run: Run, epoch: int, image: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (K,) and the whole attention (L, H, N, N) of one test image."""
    return _attention(str(run.path), epoch, image, run)


@memoize()
def _attention(path: str, epoch: int, image: int, _run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    probs, attn = attend(model_of(_run, epoch), split(_run.config)[1].images[image : image + 1])
    return probs[0].numpy(), attn[0].numpy()


def cls_maps(run: Run, epoch: int | Checkpoint, chosen: list[int], layer: int, head: Head) -> NDArray[np.float32]:
    """CLS maps (B, N-1) of some test images, by one layer and the mean, the maximum or one of its heads."""
    return _cls_maps(str(run.path), epoch, tuple(chosen), layer, head, run)


@memoize()
def _cls_maps(
    path: str, epoch: int | Checkpoint, chosen: tuple[int, ...], layer: int, head: Head, _run: Run
) -> NDArray[np.float32]:
    _, attn = attend(model_of(_run, epoch), split(_run.config)[1].images[list(chosen)])
    return cls_map(attn[:, layer], head).numpy()


NUM_MEASURED = 64  # test images that the figures over training are of
MAX_CHECKPOINTS = 200
MAX_VALUES = 2_000_000  # of maps that a browser is given at once, a byte each


def history(run: Run, chosen: list[int], layer: int, heads: Sequence[Head], always: Sequence[Checkpoint]) -> History:
    """Chosen maps of some test images at every kept checkpoint, thinned evenly where these are too many.

    `always` are checkpoints that stay. The figures are of `NUM_MEASURED` images spread over the test set.
    """
    checkpoints = run.checkpoints()
    fitting = MAX_VALUES // (len(chosen) * len(heads) * run.config.model.num_patches)
    thinned = evenly_spaced(len(checkpoints), max(2, min(MAX_CHECKPOINTS, fitting)))
    kept = sorted({*(checkpoints[i] for i in thinned), *always})
    return _history(str(run.path), tuple(kept), tuple(chosen), layer, tuple(heads), run)


@memoize("Looking at the images with every kept model")
def _history(
    path: str,
    checkpoints: tuple[Checkpoint, ...],
    chosen: tuple[int, ...],
    layer: int,
    heads: tuple[Head, ...],
    _run: Run,
) -> History:
    many = tuple(evenly_spaced(len(split(_run.config)[1]), NUM_MEASURED))
    seen: dict[Checkpoint, tuple[Look, Measured]] = {}
    left_out = []
    with threads_for(_run.config):
        for checkpoint in checkpoints:
            try:
                untrained = next(iter(seen), checkpoint)
                seen[checkpoint] = (
                    _look(path, checkpoint, chosen, _run),
                    _measured(path, checkpoint, untrained, many, _run),
                )
            except RunError:
                left_out.append(checkpoint)
    if not seen:
        _run.load_model(checkpoints[-1])  # says why there is nothing to see
    return gather(seen, layer, heads, left_out)


@memoize()
def _look(path: str, checkpoint: Checkpoint, chosen: tuple[int, ...], _run: Run) -> Look:
    return _look_now(_run, checkpoint, chosen)


@memoize()
def _measured(path: str, checkpoint: Checkpoint, untrained: Checkpoint, many: tuple[int, ...], _run: Run) -> Measured:
    before = _look_untrained(path, untrained, many, _run)
    return measure(before if checkpoint == untrained else _look_now(_run, checkpoint, many), before)


@memoize()
def _look_untrained(path: str, checkpoint: Checkpoint, many: tuple[int, ...], _run: Run) -> Look:
    return _look_now(_run, checkpoint, many)


def _look_now(run: Run, checkpoint: Checkpoint, chosen: Sequence[int]) -> Look:
    return look(run.load_model(checkpoint), split(run.config)[1].images[list(chosen)])


def recent_checkpoint(run: Run, active: bool) -> Checkpoint | None:
    """The newest kept weights of a run, or while it trains those of some seconds ago; None where there are none.

    Everybody who watches sees the same ones, so a training that finishes an epoch a second is looked into far less
    often than that, however many watch.
    """
    return _recent_checkpoint(str(run.path), run) if active else _newest_checkpoint(run)


@st.cache_data(ttl=PROBE_SECONDS, max_entries=32, show_spinner=False)
def _recent_checkpoint(path: str, _run: Run) -> Checkpoint | None:
    return _newest_checkpoint(_run)


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    checkpoints = run.checkpoints()
    return checkpoints[-1] if checkpoints else None


def run_scale(run: Run, newest: Checkpoint | None = None) -> tuple[float, float]:
    """The absolute colour scale of a run, the same for all its images and epochs: that of its newest weights."""
    for checkpoint in [newest] if newest else [Checkpoint(epoch) for epoch in reversed(run.epochs())]:
        with suppress(RunError):  # weights that cannot be read are told of where they are shown
            return _run_scale(str(run.path), checkpoint, run)
    return 0.0, 4 / (run.config.model.num_patches + 1)


@memoize()
def _run_scale(path: str, checkpoint: Checkpoint, _run: Run) -> tuple[float, float]:
    return model_scale(model_of(_run, checkpoint), split(_run.config)[1])


def one_image(run: Run, epoch: int, image: int) -> ImageExport:
    """One test image, ready to be taken along."""
    test_set = split(run.config)[1]
    probs, attn = attention(run, epoch, image)
    return ImageExport(
        run.id, epoch, image, test_set.images[image], int(test_set.labels[image]), test_set.classes,
        torch.from_numpy(probs), torch.from_numpy(attn), run_scale(run),
    )  # fmt: skip


def bertviz(run: Run, epoch: int, image: int, layer: int, layers: list[int]) -> str:
    """BertViz's head view of one test image, with these layers to choose from."""
    return _bertviz(str(run.path), epoch, image, layer, tuple(layers), run)


@memoize("Drawing BertViz's head view")
def _bertviz(path: str, epoch: int, image: int, layer: int, layers: tuple[int, ...], _run: Run) -> str:
    return one_image(_run, epoch, image).bertviz(layer, list(layers))


def bertviz_model(run: Run, epoch: int, image: int, layers: list[int]) -> str:
    """BertViz's model view of one test image, of these layers."""
    return _bertviz_model(str(run.path), epoch, image, tuple(layers), run)


@memoize("Drawing BertViz's model view")
def _bertviz_model(path: str, epoch: int, image: int, layers: tuple[int, ...], _run: Run) -> str:
    return one_image(_run, epoch, image).bertviz_model(list(layers))
