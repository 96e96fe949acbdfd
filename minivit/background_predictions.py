"""Predictions that take long: computed by a separate process, saved in the run's folder, and resumable.

A page that needs them starts `python -m minivit predict RUN_DIR --epoch N --while-watched`, reads what is there so far,
and calls `watch` while it is open; the process ends a few seconds after the last call.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from minivit.config import ViTConfig
from minivit.data import ImageSet, evenly_spaced
from minivit.errors import RunError
from minivit.files import explain_os_error
from minivit.inference import Predictions, logits, multiplications
from minivit.runs import Run
from minivit.runs.checkpoint import load_tensors, serialize
from minivit.runs.files import explain_write_error, is_locked, replace_file
from minivit.worker import start_detached

MAX_MULTIPLICATIONS = 1e11  # for a test set that a page predicts itself: about 2 s on two CPU cores
CHUNK_SECONDS = 1  # between two writes
WATCH_SECONDS = 30  # after the last call of `watch`, when the process ends


class PredictionRows(NamedTuple):
    """The first test images' predictions, (n,) each."""

    predicted: NDArray[Any]  # int64
    confidence: NDArray[Any]  # float32
    loss: NDArray[Any]  # float32


def is_slow_to_predict(config: ViTConfig, num_images: int) -> bool:
    """Whether predicting so many images takes too long for a page to wait."""
    return num_images * multiplications(config) > MAX_MULTIPLICATIONS


def prediction_path(run: Run, epoch: int) -> Path:
    """The file of the predictions after an epoch."""
    return run.path / "predictions" / f"epoch-{epoch:04}.safetensors"


def predictions_so_far(run: Run, epoch: int, test_set: ImageSet) -> Predictions:
    """The saved predictions, for the first test images: any number from none to all."""
    rows = _read(run, epoch, test_set)
    return Predictions(test_set.labels[: len(rows.predicted)].numpy(), *rows, len(run.config.classes))


def predict_and_save(
    run: Run, epoch: int, test_set: ImageSet, should_continue: Callable[[], bool] = lambda: True
) -> Predictions:
    """Predicts and saves the missing images, chunk by chunk while `should_continue()`; nothing if another process does.

    RunError if the file cannot be written.
    """
    path = prediction_path(run, epoch)
    source = _source(run, epoch, test_set)
    with explain_write_error(path.parent):
        path.parent.mkdir(exist_ok=True)
    model = run.load_model(epoch)
    size = 1
    with suppress(Timeout), FileLock(_lock(path), timeout=0):
        rows = _read(run, epoch, test_set)
        while (done := len(rows.predicted)) < len(test_set) and should_continue():
            start = time.perf_counter()
            chunk = slice(done, done + size)
            chunk_logits = logits(model, test_set.images[torch.arange(len(test_set))[chunk]])
            values = Predictions.from_logits(chunk_logits, test_set.labels[chunk])
            rows = PredictionRows(*(np.append(rows[i], getattr(values, name)) for i, name in enumerate(rows._fields)))
            tensors = {name: torch.from_numpy(column) for name, column in rows._asdict().items()}
            replace_file(path, serialize(tensors, {"source": source}))
            size = max(1, int(size * min(2, CHUNK_SECONDS / (time.perf_counter() - start))))
    return predictions_so_far(run, epoch, test_set)


def _read(run: Run, epoch: int, test_set: ImageSet) -> PredictionRows:
    """The saved rows; none if there is no valid file, or if it was computed from another model or other images."""
    source = _source(run, epoch, test_set)
    with suppress(RunError, KeyError):
        tensors, metadata = load_tensors(prediction_path(run, epoch))
        columns = [tensors[name] for name in PredictionRows._fields]
        if metadata["source"] == source and _are_valid(columns, len(test_set), run.config.model.num_classes):
            return PredictionRows(*(column.numpy().copy() for column in columns))  # not of a mapped file
    return PredictionRows(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))


def _are_valid(columns: Sequence[Tensor], num_images: int, num_classes: int) -> bool:
    """Whether these can be `PredictionRows` for the first of `num_images` images."""
    predicted, confidence, loss = columns
    return (
        [column.dtype for column in columns] == [torch.int64, torch.float32, torch.float32]
        and {column.shape for column in columns} == {(predicted.numel(),)}
        and predicted.numel() <= num_images
        and bool(((predicted >= 0) & (predicted < num_classes)).all())
        and bool(((confidence >= 0) & (confidence < 1.001) & loss.isfinite()).all())  # a softmax may exceed 1 by an ulp
    )


def start_predicting(run: Run, epoch: int) -> None:
    """Starts the process unless it is already running; it continues while `watch` is called. RunError if it cannot."""
    watch(run, epoch)
    path = prediction_path(run, epoch)
    if not is_locked(_lock(path)):
        arguments = ("predict", str(run.path.resolve()), "--epoch", str(epoch), "--while-watched")
        start_detached("minivit", *arguments, log=path.with_suffix(".log"))


def watch(run: Run, epoch: int) -> None:
    """Keeps the process that computes these predictions running; RunError if it could not write them."""
    path = prediction_path(run, epoch)
    with explain_write_error(path.parent):
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".watched").touch()


def is_watched(run: Run, epoch: int) -> bool:
    try:
        return time.time() - prediction_path(run, epoch).with_suffix(".watched").stat().st_mtime < WATCH_SECONDS
    except OSError:
        return False


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _source(run: Run, epoch: int, test_set: ImageSet) -> str:
    """A digest of what the predictions depend on: the weights file, the labels, and some of the images."""
    path = run.checkpoint_path(epoch)
    with explain_os_error(RunError, f"{path} cannot be read", "Choose another epoch."):
        weights = path.stat()
    digest = hashlib.sha256(f"{weights.st_size} {weights.st_mtime_ns} {test_set.classes}".encode())
    digest.update(test_set.labels.numpy().data)
    digest.update(np.ascontiguousarray(test_set.images[torch.tensor(evenly_spaced(len(test_set), 16))].numpy()).data)
    return digest.hexdigest()
