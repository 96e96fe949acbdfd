"""What a model says of images: logits, probabilities, losses, the confusion matrix and its figures.

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

Order = Literal["index", "most confident", "least confident", "highest loss"]

EVAL_BATCH = {"cpu": 64, "mps": 512, "cuda": 2048}  # on a CPU, larger batches fall out of the cache


@dataclass(frozen=True)
class Predictions:
    """What a model says of N labelled images; `probs` (N, K), everything else (N,)."""

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
        """(K, K) counts: rows the true class, columns the predicted one."""
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
        if true is not None:
            matches &= self.labels == true
        if predicted is not None:
            matches &= self.predicted == predicted
        if correct is not None:
            matches &= self.correct == correct
        indices = np.flatnonzero(matches)
        if order == "index":
            return indices
        key = {
            "most confident": -self.confidence,
            "least confident": self.confidence,
            "highest loss": -self.loss,
        }[order]
        return indices[key[indices].argsort(kind="stable")]


def predict(model: MiniViT, images: Images, labels: Tensor) -> Predictions:
    """What `model` says of images uint8 (N, C, H, W) with labels (N,)."""
    scores = logits(model, images)
    loss = F.cross_entropy(scores, labels.to(scores.device), reduction="none")
    return Predictions(labels.cpu().numpy(), scores.softmax(1).cpu().numpy(), loss.cpu().numpy())


def predict_run(run: Run, epoch: int | None = None) -> Predictions:
    """What a run's model says of its test images, after `epoch` or the newest that is kept."""
    model = run.load_model(epoch)
    _, test_set = load_split(run.config)
    return predict(model, test_set.images, test_set.labels)


def logits(model: MiniViT, images: Images, in_patches: bool = False) -> Tensor:
    """Logits (N, K) of images (N, C, H, W), uint8 or float 0..1, on the model's device, without dropout or gradients.

    With `in_patches` the images are already cut into patches, as `FusedViT` takes them.
    """
    device, forward = model.mean.device, FusedViT(model, in_patches)
    with eval_mode(model):
        return torch.cat([forward(as_float(batch.to(device))) for batch in images.split(EVAL_BATCH[device.type])])


@contextmanager
def eval_mode(model: MiniViT) -> Iterator[None]:
    """Evaluation mode without gradients inside; the model is then as it was."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def as_float(images: Tensor) -> Tensor:
    """uint8 0..255 to the float 0..1 that a model takes; floats are that already."""
    return images if images.is_floating_point() else images.float().div_(255)


def precision_recall(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of each class, (K,) each; not a number where a class was never predicted or never true."""
    right = confusion.diagonal().astype(float)
    with np.errstate(invalid="ignore"):
        return right / confusion.sum(0), right / confusion.sum(1)
