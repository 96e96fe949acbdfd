"""Classes of different sizes: weighted losses, or as many images of each class."""

import pytest
import torch
from trainings import loss_by_hand

from minivit.data import load_split
from minivit.engine.training import Training

CPU = torch.device("cpu")


@pytest.fixture
def uneven(tiny):
    """80 images of the first class and 8 of the second, and the test images."""
    train_set, test_set = load_split(tiny.changed(images_per_class=100))
    first, second = ((train_set.labels == label).nonzero().flatten() for label in (0, 1))
    return train_set.select(torch.cat([first[:72], second[:8]])), test_set


def test_weights_are_the_mean_class_size_over_that_of_the_class(tiny, uneven):
    config = tiny.changed(class_balance="weights", optimizer="sgd", lr=1e-12, epochs=1)
    training = Training(config, CPU, *uneven)
    for images, target, scalars in training.batches(1):
        training.train_step(images, target, scalars)
    (images, labels, _), model = uneven[0], training.model
    by_class = [loss_by_hand(model, images[labels == label], labels[labels == label]) for label in (0, 1)]
    row = training.metrics(1)
    assert row["train_loss"] == pytest.approx(sum(by_class) / 2, abs=1e-6)  # both classes count alike
    assert row["test_loss"] == pytest.approx(loss_by_hand(model, uneven[1].images, uneven[1].labels), abs=1e-5)


def test_sampling_draws_as_many_images_of_each_class_and_others_in_each_epoch(tiny, uneven):
    training = Training(tiny.changed(class_balance="sampling"), CPU, *uneven)
    epochs = [torch.cat([target for _, target, _ in training.batches(epoch)]) for epoch in (1, 2, 3, 1)]
    assert all(len(labels) == 80 for labels in epochs)
    assert 0.4 < torch.cat(epochs[:3]).float().mean() < 0.6
    assert torch.equal(epochs[0], epochs[3]) and not torch.equal(epochs[0], epochs[1])
