"""Inference: images -> logits -> predictions, with their losses and the confusion matrix.

N images, K classes. Long computations work in chunks, and between two of them their caller may end them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minivit.config import ViTConfig
from minivit.data import Images, ImageSet, load_split
from minivit.errors import ConfigError
from minivit.fused import FusedViT
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import wilson

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """In this block `chunks` calls `check` before each chunk; what it raises ends the computation."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def chunks(images: Images, size: int) -> Iterator[Tensor]:
    """The rows of a tensor, at most `size` (at least 1) at a time."""
    for chunk in images.split(max(1, size)):
        _check.get()()
        yield chunk


Interval = tuple[float, float]

EVAL_BATCH = {"cpu": 64, "mps": 512, "cuda": 2048}  # larger batches exceed the cache of a CPU

BATCH_MULTIPLICATIONS = 5e10

Order = Literal["index", "most confident", "least confident", "highest loss"]


def as_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> the float 0..1 that a model takes; float images are returned as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


@contextmanager
def eval_mode(model: MiniViT) -> Iterator[None]:
    """Evaluation mode without gradients; on exit the model is back in its former mode."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def multiplications(config: ViTConfig) -> float:
    """Multiplications of one forward pass for one image, without embedding and head."""
    N, D = config.num_tokens, config.embed_dim
    return config.depth * N * D * ((4 + 2 * config.mlp_ratio) * D + 2 * N)  # projections and MLP, and attention


def logits(model: MiniViT, images: Images, in_patches: bool = False) -> Tensor:
    """Logits (N, K) of images (N, C, H, W), uint8 or float 0..1, on the model's device, without dropout or gradients.

    With `in_patches` the images are already cut into patches, as `FusedViT` takes them. ConfigError without a head.
    """
    device = model.mean.device
    forward = FusedViT(model, in_patches)
    size = EVAL_BATCH[device.type]
    if device.type == "cpu":  # of a large model, as many as take about a second
        size = min(size, int(BATCH_MULTIPLICATIONS / multiplications(model.config)))
    if not model.config.num_classes:
        raise ConfigError("This model has no classifier head, so it predicts no class. Inspect its attention instead.")
    with eval_mode(model):
        batches = (batch.to(device) for batch in chunks(images, size))
        return torch.cat([forward(batch if in_patches else as_float(batch)) for batch in batches])


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N labeled images; all (N,). Of a large set, those so far."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]  # the most probable class
    confidence: NDArray[np.float32]  # its probability
    loss: NDArray[np.float32]  # cross-entropy in nats; NaN if the model does not have the true class
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_logits(cls, logits: Tensor, labels: Tensor, num_classes: int | None = None) -> "Predictions":
        """Predictions from logits (N, K) and labels (N,).

        A label from K on, of `num_classes`, is not a class of the model: it is never predicted, and its loss is NaN.
        """
        confidence, predicted = logits.softmax(1).max(1)
        loss = F.cross_entropy(logits, labels.to(logits.device).clamp(max=logits.shape[1] - 1), reduction="none")
        return cls(
            labels.cpu().numpy(),
            predicted.cpu().numpy(),
            confidence.cpu().numpy(),
            loss.cpu().masked_fill(labels.cpu() >= logits.shape[1], float("nan")).numpy(),
            num_classes or logits.shape[1],
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (K, K): a row per true class, a column per predicted class."""
        K = self.num_classes
        return np.bincount(self.labels * K + self.predicted, minlength=K * K).reshape(K, K)

    def select(
        self,
        *,
        true: int | None = None,
        predicted: int | None = None,
        correct: bool | None = None,
        order: Order = "index",
    ) -> NDArray[np.int64]:
        """Indices of the images that match every given filter, in the given order."""
        matches = np.ones(len(self.labels), bool)
        for filter_value, values in ((true, self.labels), (predicted, self.predicted), (correct, self.correct)):
            if filter_value is not None:
                matches &= values == filter_value
        indices = np.flatnonzero(matches)
        keys = {"most confident": -self.confidence, "least confident": self.confidence, "highest loss": -self.loss}
        return indices if order == "index" else indices[keys[order][indices].argsort(kind="stable")]


def predict(model: MiniViT, image_set: ImageSet) -> Predictions:
    return Predictions.from_logits(logits(model, image_set.images), image_set.labels, len(image_set.classes))


def predict_run(run: Run, epoch: int | None = None) -> Predictions:
    """Predictions for a run's test images by its checkpoint of `epoch`, the newest by default."""
    model = run.load_model(epoch)
    _, test_set = load_split(run.config)
    return predict(model, test_set)


@dataclass(frozen=True)
class Calibration:
    """How often predictions of similar confidence are correct, in bins of equal width, without empty bins."""

    confidence: NDArray[np.float64]  # (n,), mean in each bin
    accuracy: NDArray[np.float64]  # (n,)
    counts: NDArray[np.int64]  # (n,), images

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1: the mean |accuracy − confidence|, weighted by the counts (1706.04599)."""
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def calibration(predictions: Predictions, num_bins: int = 10) -> Calibration:
    """The calibration of one or more predictions, by the confidence in the predicted class."""
    bins = np.minimum((predictions.confidence * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    sums = (np.bincount(bins, values, num_bins) for values in (predictions.confidence, predictions.correct))
    confidence, accuracy = (values[counts > 0] / counts[counts > 0] for values in sums)
    return Calibration(confidence, accuracy, counts[counts > 0])


def precision_recall(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of each class, (K,) each; NaN for a class that is never predicted or has no image."""
    correct = confusion.diagonal().astype(float)
    with np.errstate(invalid="ignore"):
        return correct / confusion.sum(0), correct / confusion.sum(1)


def precision_recall_intervals(confusion: NDArray[np.int64]) -> tuple[list[Interval | None], list[Interval | None]]:
    """95% intervals (Wilson) of the precision and recall of each class; None where there is no value."""
    correct = confusion.diagonal()
    precision, recall = (
        [wilson(int(hits), int(total)) if total else None for hits, total in zip(correct, totals, strict=True)]
        for totals in (confusion.sum(0), confusion.sum(1))
    )
    return precision, recall


def num_parameters(config: ViTConfig) -> int:
    """Number of trainable parameters of a model with this configuration, counted without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MiniViT(config).parameters())
