"""What training starts from: the initial model, and the weights of the classes (K,)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from minivit.config import TrainConfig
from minivit.data import ImageSet, channel_stats
from minivit.engine.whitening import whiten
from minivit.model import MiniViT


def initial_model(config: TrainConfig, train_set: ImageSet, initial: Mapping[str, Tensor] | None) -> MiniViT:
    """The model before training, with the normalization of the training images and, if enabled, their whitening."""
    torch.manual_seed(config.seed)
    model = MiniViT(config.model)
    if initial is not None:
        model.load_state_dict(initial, strict=False)
    elif config.normalize:
        mean, std = channel_stats(train_set.images)
        model.mean.copy_(mean.view(-1, 1, 1))
        model.std.copy_(std.clamp(min=1 / 255).view(-1, 1, 1))  # a channel may be constant
    if config.whiten:
        whiten(model, train_set, keep_weights=initial is not None)
    return model


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weights (K,) of images by their class, 1 on average, so that all classes together count the same."""
    counts = torch.bincount(labels, minlength=num_classes)
    return len(labels) / (counts.clamp(min=1) * num_classes)
