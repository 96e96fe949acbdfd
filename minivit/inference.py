"""Inference: images -> logits -> predictions, with their losses and the confusion matrix.

N images, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minivit.data import Images, load_split
from minivit.fused import FusedViT
from minivit.model import MiniViT
from minivit.runs import Run

EVAL_BATCH = {"cpu": 64, "mps": 512, "cuda": 2048}  # on a CPU, larger batches fall out of the cache

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


def logits(model: MiniViT, images: Images, in_patches: bool = False) -> Tensor:
    """Logits (N, K) of images (N, C, H, W), uint8 or float 0..1, on the model's device, without dropout or gradients.

    With `in_patches` the images are already cut into patches, as `FusedViT` takes them.
    """
    device, forward = model.mean.device, FusedViT(model, in_patches)
    with eval_mode(model):
        return torch.cat([forward(as_float(batch.to(device))) for batch in images.split(EVAL_BATCH[device.type])])


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N labelled images; `probs` (N, K), everything else (N,)."""

    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    loss: NDArray[np.float32]  # cross-entropy in nats

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image."""
        return self.probs.argmax(1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of the predicted class."""
        return self.probs.max(1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the predicted class is the true one."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, 0..1."""
        return float(self.correct.mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (K, K): a row per true class, a column per predicted class."""
        K = self.probs.shape[1]
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
        match order:
            case "index":
                return indices
            case "most confident":
                key = -self.confidence
            case "least confident":
                key = self.confidence
            case "highest loss":
                key = -self.loss
        return indices[key[indices].argsort(kind="stable")]


def predict(model: MiniViT, images: Images, labels: Tensor) -> Predictions:
    """The model's predictions for images uint8 (N, C, H, W) with labels (N,)."""
    scores = logits(model, images)
    loss = F.cross_entropy(scores, labels.to(scores.device), reduction="none")
    return Predictions(labels.cpu().numpy(), scores.softmax(1).cpu().numpy(), loss.cpu().numpy())


def predict_run(run: Run, epoch: int | None = None) -> Predictions:
    """Predictions for a run's test images by its checkpoint of `epoch`, the newest by default."""
    model = run.load_model(epoch)
    _, test_set = load_split(run.config)
    return predict(model, test_set.images, test_set.labels)


def precision_recall(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of each class, (K,) each; NaN for a class that is never predicted or has no image."""
    correct = confusion.diagonal().astype(float)
    with np.errstate(invalid="ignore"):
        return correct / confusion.sum(0), correct / confusion.sum(1)
