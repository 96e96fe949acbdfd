"""Images of classes that a model was not trained on: its confidence in them, and whether a picture is one of them.

The largest probability as confidence: the baseline of Hendrycks & Gimpel (1610.02136). The largest logit as a score:
Hendrycks et al., 'Scaling Out-of-Distribution Detection' (1911.11132). Shares of calibration images as conformal
p-values: Bates et al., 'Testing for Outliers with Conformal p-values' (2104.08279).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivit.attention.maps import num_affordable
from minivit.config import TrainConfig
from minivit.data import Images, ImageSet, list_classes, load_images
from minivit.data.image_set import evenly_spaced
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.stats import auroc

MAX_IMAGES = 400  # of each group
MIN_SHARE = 0.8  # of other classes among images with a score this low, both groups weighted equally


@dataclass(frozen=True)
class MembershipVerdict:
    """How a picture's score compares with those of the calibration images."""

    p_value: float  # of "it belongs to a class": the share of test images whose score is as low or lower
    other_share: float  # the same share of images of other classes

    @property
    def is_other(self) -> bool:
        """Whether the picture probably belongs to none of the classes."""
        return self.other_share >= MIN_SHARE * (self.p_value + self.other_share)


@dataclass(frozen=True, eq=False)
class ScoreCalibration:
    """Scores of test images (n,) and of images of classes that the model was not trained on (m,)."""

    known: NDArray[np.float32]
    other: NDArray[np.float32]
    other_classes: tuple[str, ...]
    known_confidence: NDArray[np.float32]  # (n,), the probability of the predicted class
    other_confidence: NDArray[np.float32]  # (m,)

    def judge(self, score: float) -> MembershipVerdict:
        low = int((self.known <= score).sum())
        return MembershipVerdict((low + 1) / (len(self.known) + 1), float((self.other <= score).mean()))

    @property
    def auroc(self) -> float:
        """Probability that a test image has a higher score than an image of another class; 0.5 is chance."""
        return auroc(self.known, self.other)[0]


def score(model: MiniViT, images: Images) -> Tensor:
    """The largest logit of each image, (N,)."""
    return logits(model, images).amax(1).cpu()


def calibrate(model: MiniViT, test_set: ImageSet, other: ImageSet) -> ScoreCalibration:
    """Scores of the test images and of `other`, as many of each as a page can compute without a noticeable wait."""
    count = num_affordable(model.config, MAX_IMAGES)
    known, unknown = (
        logits(model, images.images[torch.tensor(evenly_spaced(len(images), count))]).cpu()
        for images in (test_set, other)
    )
    scores, other_scores = (values.amax(1).numpy() for values in (known, unknown))
    confidence, other_confidence = (values.softmax(1).amax(1).numpy() for values in (known, unknown))
    return ScoreCalibration(scores, other_scores, other.classes, confidence, other_confidence)


def has_other_classes(config: TrainConfig) -> bool:
    """Whether the run's data set has classes that it was not trained on."""
    return not set(list_classes(config.dataset, config.data_dir)) <= set(config.classes)


def load_other_classes(config: TrainConfig) -> ImageSet | None:
    """Images of classes that the run was not trained on, as its model sees them.

    They come from the same data set, else from the synthetic shapes; None if the run was trained on all of those.
    """
    for dataset, data_dir in ((config.dataset, config.data_dir), ("shapes", "")):
        classes = list_classes(dataset, data_dir)
        if others := [name for name in classes if name not in config.classes]:
            return load_images(
                dataset,
                data_dir=data_dir,
                classes=others,
                img_size=config.model.img_size,
                in_chans=config.model.in_chans,
                images_per_class=max(1, MAX_IMAGES // len(others)),
                drawing=config.drawing,
            )
    return None
