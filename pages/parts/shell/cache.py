"""Memoized calls into `minivit`: images, models, predictions and attention of a run's checkpoints."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TypeVar

import numpy as np
import streamlit as st
import torch
from cachetools import TTLCache, cached
from cachetools.keys import hashkey
from numpy.typing import NDArray

from minivit import data
from minivit.attention import METHODS, Head, attend
from minivit.attention.image_attention import AttentionInputs, attention_inputs, head_matrix, token_rows
from minivit.attention.maps import attend_masked, num_affordable, without_registers
from minivit.background_predictions import is_slow_to_predict, prediction_path, predictions_so_far
from minivit.config import Dataset, TrainConfig
from minivit.data import MAX_INSPECTED_BYTES, ImageSet, load_images, load_split
from minivit.data.image_set import evenly_spaced
from minivit.errors import DataError, RunError
from minivit.export import ImageExport, model_scale
from minivit.export.image_export import NO_INDEX, num_scale_images
from minivit.figures import attention_scale
from minivit.imports import num_head_classes
from minivit.inference import Predictions, logits, predict
from minivit.machine import threads_for
from minivit.model import MiniViT
from minivit.out_of_distribution import ScoreCalibration, calibrate, load_other_classes
from minivit.runs import Checkpoint, Run
from minivit.runs.comparison import SAME_IMAGES
from pages.parts.shell.access import allowed_path
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pictures import all_pictures, pixels
from pages.parts.shell.wording import escape_markdown

T = TypeVar("T")
Array = NDArray[np.float32]
ImageId = int | str  # a test image by its index, or a picture of the user's by its id

CANCELED = "cache_canceled"  # in the session: the images whose loading the user canceled
CANCEL_SECONDS = 2
PROBE_SECONDS = 5  # maximum age of the checkpoint that a live page shows


class LoadingCanceled(DataError):
    """The user canceled the loading of these images."""


def resume_loading() -> None:
    """For callbacks: allows what the user canceled."""
    st.session_state.pop(CANCELED, None)


def _images_key(config: TrainConfig) -> Hashable:
    return (*(getattr(config, name) for name in SAME_IMAGES), config.model.img_size, config.model.in_chans)


def split(config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    """Train and test images of these settings, with a progress bar while they are loaded."""
    allowed_path(config.data_dir)
    if st.session_state.get(CANCELED) == _images_key(config):
        raise LoadingCanceled("Loading the images was canceled. Load them, or choose other images.")
    return _split(config)


def test_set(run: Run) -> ImageSet:
    """The test images of a run."""
    return split(run.config)[1]


def some_images(run: Run, max_images: int, min_images: int = 8) -> tuple[int, ...]:
    """The indices of evenly spaced test images: as many as a page can analyze without a noticeable wait."""
    return tuple(evenly_spaced(len(test_set(run)), num_affordable(run.config.model, max_images, min_images)))


@memoize(key=_images_key)
def _split(config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    key = _images_key(config)
    with progress_bar("Loading the images", lambda: st.session_state.update({CANCELED: key})) as report:
        return load_split(config, report, MAX_INSPECTED_BYTES)


@memoize(key=_images_key)
def remarks(config: TrainConfig) -> list[str]:
    """Warnings about the images of these settings."""
    return data.data_warnings(config, *split(config))


@contextmanager
def progress_bar(text: str, cancel: Callable[[], None] | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function that shows a text, literally, and how much of the total is done.

    A button that calls `cancel` appears if it takes longer than `CANCEL_SECONDS`; its click supersedes this script.
    """
    placeholder = st.empty()
    row = placeholder.container(horizontal=True, vertical_alignment="center")
    start = monotonic()
    can_cancel = False
    bar = row.progress(0.0, text)

    def report(text: str, done: int, total: int) -> None:
        nonlocal can_cancel
        bar.progress(min(1.0, done / max(total, 1)), escape_markdown(text))
        if cancel and not can_cancel and monotonic() - start > CANCEL_SECONDS:
            can_cancel = True
            row.button("Cancel", key=f"cancel_{start}", on_click=cancel)

    try:
        yield report
    finally:
        placeholder.empty()


@memoize("Loading the images")
def samples(
    dataset: Dataset, data_dir: str, classes: tuple[str, ...], img_size: int, in_chans: int, per_class: int
) -> ImageSet:
    """The first images of each class of the training split, class by class."""
    allowed_path(data_dir)
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
        with suppress(RunError):  # reported when that checkpoint itself is drawn
            model_of(run, checkpoint)
            return checkpoint
    raise RunError(f"None of the weights of the run {run.id} can be read. Choose another run.")


def predictions(run: Run, epoch: int) -> Predictions:
    """Predictions for the run's test images after `epoch`: all of them, or those so far if they take long."""
    if not is_slow_to_predict(run.config.model, len(test_set(run))):
        return _predictions(run, epoch)
    saved = _saved_predictions(run, epoch)
    if len(saved) < len(test_set(run)):
        model_of(run, epoch)  # raises if the weights cannot be read: then the background process predicts nothing
    return saved


@memoize("Predicting the test images")
def _predictions(run: Run, epoch: int) -> Predictions:
    return predict(model_of(run, epoch), test_set(run))


def _file_key(run: Run, epoch: int) -> Hashable:
    path = prediction_path(run, epoch)
    return run, epoch, path.stat().st_size if path.exists() else 0


@memoize(key=_file_key)
def _saved_predictions(run: Run, epoch: int) -> Predictions:
    return predictions_so_far(run, epoch, test_set(run))


@memoize()
def predicted_classes(run: Run, epoch: int, indices: tuple[int, ...]) -> torch.Tensor:
    """The predicted class of some test images, (n,), without predicting the others."""
    return logits(model_of(run, epoch), test_set(run).images[list(indices)]).argmax(1).cpu()


def image_pixels(run: Run, image: ImageId) -> torch.Tensor:
    """One image as the run's model sees it, uint8 (1, C, H, W)."""
    return pixels(run, image) if isinstance(image, str) else test_set(run).images[image : image + 1]


def image_label(run: Run, image: ImageId) -> int | None:
    """The true class of a test image, by its index; None for a picture of the user's."""
    return None if isinstance(image, str) else int(test_set(run).labels[image])


def image_title(run: Run, image: ImageId) -> str:
    """The title of an image: "Image 5", or the file name of a picture."""
    return all_pictures(run)[image].name if isinstance(image, str) else f"Image {image}"


def seed(image: ImageId) -> int:
    """A random seed for an image, so that every visit shows the same results."""
    return int(image, 16) % 2**63 if isinstance(image, str) else image


@memoize()
def attention(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Probabilities (K,) and attention (L, H, n + 1, n + 1) of CLS and n patches for one image without some tokens."""
    model = model_of(run, epoch)
    images = image_pixels(run, image)
    probs, attn = attend_masked(model, images, _masked_patches(run, masked)) if masked else attend(model, images)
    return probs[0].numpy(), without_registers(attn[0], model.config).numpy()


@memoize("Computing the attention")
def inputs(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...]) -> AttentionInputs:
    """The inputs of each layer's attention for one image without some of its tokens, and its probabilities."""
    patches = _masked_patches(run, masked) if masked else None
    return attention_inputs(model_of(run, epoch), image_pixels(run, image), patches)


def _masked_patches(run: Run, tokens: tuple[int, ...]) -> torch.Tensor:
    masked = torch.zeros(run.config.model.num_patches, dtype=torch.bool)
    masked[[token - 1 for token in tokens]] = True
    return masked


@memoize()
def token_row(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...], token: int, method: str) -> Array:
    """The values of one query token by a method in all layers and heads, (L, H, N)."""
    weighting = METHODS[method].weighting
    return token_rows(model_of(run, epoch), inputs(run, epoch, image, masked), token, weighting).numpy()


@memoize()
def matrix(run: Run, epoch: int, image: ImageId, masked: tuple[int, ...], layer: int, head: Head, method: str) -> Array:
    """The attention of one head by a method, (N, N)."""
    weighting = METHODS[method].weighting
    return head_matrix(model_of(run, epoch), inputs(run, epoch, image, masked), layer, head, weighting).numpy()


@memoize("Analyzing the images")
def analyze(
    function: Callable[[MiniViT, torch.Tensor], T], run: Run, checkpoint: int | Checkpoint, images: tuple[ImageId, ...]
) -> T:
    """What a function of `minivit` computes from the run's model at a checkpoint and some images."""
    with threads_for(run.config):
        return function(model_of(run, checkpoint), torch.cat([image_pixels(run, image) for image in images]))


@memoize(key=_checkpoint_key)
def cls_maps(run: Run, checkpoint: int | Checkpoint, images: tuple[int, ...]) -> Array:
    """CLS maps (B, n) of some test images: last layer, mean over heads."""
    with threads_for(run.config):
        return METHODS["cls_map"].attribute(model_of(run, checkpoint), test_set(run).images[list(images)]).cpu().numpy()


def recent_checkpoint(run: Run, active: bool) -> Checkpoint | None:
    """The newest checkpoint of a run; while it trains, possibly a few seconds old. None if there is none.

    All viewers get the same one, so a run that finishes an epoch per second is not evaluated every second.
    """
    checkpoints = _recent_checkpoints(run) if active else run.checkpoints()
    return checkpoints[-1] if checkpoints else None


@cached(TTLCache(32, PROBE_SECONDS), lock=threading.Lock())
def _recent_checkpoints(run: Run) -> list[Checkpoint]:
    return run.checkpoints()


def run_scale(run: Run) -> tuple[float, float]:
    """The absolute color scale of a run, the same for all images and epochs: from its newest weights."""
    for epoch in reversed(run.epochs()):
        with suppress(RunError):  # reported when that epoch itself is drawn
            return checkpoint_scale(run, Checkpoint(epoch))
    return 0.0, 4 / run.config.model.num_tokens


@memoize()
def checkpoint_scale(run: Run, checkpoint: Checkpoint) -> tuple[float, float]:
    """The absolute color scale of the attention of one checkpoint."""
    if num_scale_images(run.config.model) > 1 or checkpoint.step:
        return model_scale(model_of(run, checkpoint), test_set(run))
    # From the first image alone, which a page most likely shows, so that a large model runs once
    cls_rows = token_row(run, checkpoint.epoch, 0, (), 0, "cls_map")
    return attention_scale(cls_rows[..., 1:], run.config.model.num_tokens)


def one_image(run: Run, epoch: int, image: ImageId) -> ImageExport:
    """One image with its prediction and attention, ready for export."""
    return ImageExport(
        run=run,
        epoch=epoch,
        index=NO_INDEX if isinstance(image, str) else image,
        name=image_title(run, image) if isinstance(image, str) else f"image {image}",
        image=image_pixels(run, image)[0],
        label=image_label(run, image),
        classes=run.config.classes,
        model=model_of(run, epoch),
        inputs=inputs(run, epoch, image, ()),
        scale=run_scale(run),
    )


@memoize("Drawing BertViz")
def bertviz(run: Run, epoch: int, image: ImageId, layers: tuple[int, ...], layer: int | None = None) -> str:
    """BertViz's head view of one image, with these layers to choose from, opened at `layer`; else its model view."""
    export = one_image(run, epoch, image)
    return export.bertviz_model(list(layers)) if layer is None else export.bertviz(layer, list(layers))


@memoize("Comparing with images of other classes")
def calibration(run: Run, epoch: int) -> ScoreCalibration | None:
    """Scores to judge whether a picture belongs to any class; None without images of its classes and of others."""
    other = load_other_classes(run.config)
    images = test_set(run)
    known = images.select((images.labels < num_head_classes(run)).nonzero().flatten())
    return calibrate(model_of(run, epoch), known, other) if other is not None and len(known) else None
