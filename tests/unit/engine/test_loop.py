"""The training loop on real drawn images, and against a loss written out by hand."""

import math

import pytest
import torch
from trainings import loss_by_hand, quiet, trained, weights

from minivit.config import TrainConfig
from minivit.data import load_split
from minivit.engine import Events, train
from minivit.engine import step as step_module
from minivit.inference import predict_run
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import wilson

pytestmark = pytest.mark.timeout(120)  # a loop that never ends fails


# Epoch 0


def test_epoch_0_is_the_freshly_seeded_model_and_is_kept_before_the_first_step(tiny, every_step):
    config, saved = tiny.changed(seed=5), []

    def progress(what, done, total):
        if what == "epoch 1" and done == 0:
            saved.append((run.epochs(), [row["epoch"] for row in run.metrics()], run.load_resume()[1]["epoch"]))

    run = Run.create(config)
    train(config, run, Events(progress=progress, log=quiet))
    assert saved == [([0], [0], "0")]
    torch.manual_seed(5)
    fresh = MiniViT(config.model).state_dict()
    kept = weights(run, 0)
    assert kept.keys() == fresh.keys()
    for name, value in fresh.items():
        assert torch.equal(value, kept[name])
    assert not torch.equal(kept["head.weight"], weights(run, 1)["head.weight"])


# What is learned from


@pytest.fixture
def seen(monkeypatch) -> list[bytes]:
    """Every image that the model learns from, as it gets it."""
    images: list[bytes] = []
    convert = step_module.as_float

    def spy(batch):
        images.extend(image.numpy().tobytes() for image in batch)
        return convert(batch)

    monkeypatch.setattr(step_module, "as_float", spy)
    return images


def test_each_training_image_is_used_once_per_epoch_and_no_test_image_ever(tiny, seen):
    for split in ("article", "official"):
        config = tiny.changed(split=split, epochs=2, batch_size=25)
        seen.clear()
        trained(config)
        train_set, test_set = load_split(config)
        one_epoch = sorted(image.numpy().tobytes() for image in train_set.images)
        num = len(one_epoch)
        assert sorted(seen[:num]) == sorted(seen[num:]) == one_epoch
        assert seen[:num] != seen[num:]  # in another order
        assert not {image.numpy().tobytes() for image in test_set.images} & set(seen)


def test_augmentation_changes_each_training_image_independently_and_differently_in_every_epoch(tiny, seen):
    trained(tiny.changed(augment="flip"))
    train_set, _ = load_split(tiny)
    mirrored = {image.flip(2).numpy().tobytes(): number for number, image in enumerate(train_set.images)}
    plain = {image.numpy().tobytes(): number for number, image in enumerate(train_set.images)}
    epochs = []
    for epoch in range(3):
        images = seen[96 * epoch : 96 * (epoch + 1)]
        assert sorted((mirrored | plain)[image] for image in images) == list(range(96))
        epochs.append({mirrored[image] for image in images if image in mirrored})
        assert 24 < len(epochs[-1]) < 72  # about half
    assert epochs[0] != epochs[1] != epochs[2]
    batches = [tuple(image in mirrored for image in seen[start : start + 32]) for start in range(0, len(seen), 32)]
    assert len(set(batches)) == 9  # by chance, not by place in the batch


def test_dropout_acts_in_training(tiny):
    frozen = tiny.changed(epochs=1, optimizer="sgd", lr=1e-12)
    plain, dropped = (trained(frozen.changed(drop_rate=rate)).metrics()[1] for rate in (0.0, 0.5))
    assert plain["test_loss"] == dropped["test_loss"] and abs(plain["train_loss"] - dropped["train_loss"]) > 1e-3


def test_test_loss_and_accuracy_are_those_of_the_kept_weights_computed_by_hand(tiny):
    run = trained(tiny)
    _, test_set = load_split(tiny)
    for row in run.metrics():
        model = run.load_model(row["epoch"])
        assert row["test_loss"] == pytest.approx(loss_by_hand(model, test_set.images, test_set.labels), abs=1e-5)
        predicted = model(test_set.images.double() / 255).argmax(1)
        assert row["test_acc"] == (predicted == test_set.labels).double().mean().item()


@pytest.mark.parametrize("batch_size", [95, 40, 96, 500])
def test_train_loss_is_the_mean_over_images_also_where_the_last_batch_is_smaller(tiny, batch_size):
    run = trained(tiny.changed(epochs=1, batch_size=batch_size, optimizer="sgd", lr=1e-12))  # weights stay
    train_set, _ = load_split(tiny)
    row, model = run.metrics()[1], run.load_model(0)
    assert row["train_loss"] == pytest.approx(loss_by_hand(model, train_set.images, train_set.labels), abs=1e-6)
    predicted = model(train_set.images.double() / 255).argmax(1)
    assert row["train_acc"] == (predicted == train_set.labels).double().mean().item()


def test_normalization_comes_from_the_training_images_and_is_in_every_checkpoint(tiny):
    run = trained(tiny.changed(normalize=True, epochs=1))
    train_set, test_set = load_split(tiny)
    pixels = train_set.images.double() / 255
    for epoch in run.epochs():
        kept = weights(run, epoch)
        torch.testing.assert_close(kept["mean"].double(), pixels.mean((0, 2, 3))[:, None, None])
        torch.testing.assert_close(kept["std"].double(), pixels.std((0, 2, 3), correction=0)[:, None, None])
    everything = torch.cat([pixels, test_set.images.double() / 255]).mean((0, 2, 3))
    assert not torch.allclose(kept["mean"].flatten().double(), everything, atol=1e-7)


def test_a_channel_that_is_the_same_in_all_images_does_not_spoil_normalization(tiny, monkeypatch):
    def without_blue(config, progress=None):
        parts = load_split(config)
        for part in parts:
            part.images[:, 2] = 0
        return parts

    monkeypatch.setattr("minivit.engine.loop.load_split", without_blue)
    run = trained(tiny.changed(normalize=True, epochs=1))
    assert all(math.isfinite(row["test_loss"]) for row in run.metrics())


def test_shapes_are_learned_better_than_by_guessing():
    config = TrainConfig(dataset="shapes", classes=("ring", "arrow"), images_per_class=200, device="cpu").changed(
        patch_size=8,
        embed_dim=32,
        num_heads=2,
        norm="pre",
        pos_embed="learned",
        normalize=True,
        epochs=12,
        batch_size=32,
        lr=3e-3,
        schedule="one-cycle",
    )
    run = trained(config)
    predictions = predict_run(run)
    low, _ = wilson(int(predictions.correct.sum()), len(predictions.labels))
    assert low > 0.55
    assert predictions.accuracy == run.metrics()[-1]["test_acc"]
    assert predict_run(run, 0).accuracy < predictions.accuracy


# All settings train


EVERYTHING = [  # each value of each choice once, and both sides of each switch
    {
        "optimizer": "adamw",
        "schedule": "constant",
        "augment": "rand",
        "cutmix": 1.0,
        "stem": "conv",
        "ema": 0.9,
        "label_smoothing": 0.1,
        "grad_clip": 1.0,
        "drop_rate": 0.2,
        "weight_decay": 0.05,
        "warmup_epochs": 0.5,
    },
    {
        "optimizer": "muon",
        "schedule": "cosine",
        "augment": "flip",
        "mixup": 0.5,
        "normalize": True,
        "norm": "pre",
        "pos_embed": "learned",
        "act": "gelu",
        "num_registers": 2,
        "class_balance": "weights",
        "num_heads": 4,
        "warmup_epochs": 0.5,
    },
    {
        "optimizer": "sgd",
        "schedule": "one-cycle",
        "augment": "flip-crop",
        "whiten": True,
        "depth": 1,
        "in_chans": 1,
        "grad_clip": 0.01,
        "drop_rate": 0.9,
        "label_smoothing": 0.99,
        "class_balance": "sampling",
        "split": "official",
    },
]


@pytest.mark.parametrize("settings", EVERYTHING, ids=lambda settings: settings["optimizer"])
def test_every_setting_trains(tiny, settings):
    run = trained(tiny.changed(images_per_class=10, batch_size=10, epochs=1, **settings))
    assert run.state.phase == "done" and run.epochs() == [0, 1]
    assert math.isfinite(run.metrics()[1]["train_loss"])
    before, after = weights(run, 0), weights(run, 1)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"head.weight", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= changed
    assert not changed & {"mean", "std"}


def test_every_training_setting_changes_the_result(tiny):
    baseline = tiny.changed(images_per_class=10, batch_size=8, epochs=1, optimizer="adamw", weight_decay=0.01)
    changes = {
        "optimizer": ("adam", "muon", "sgd"),
        "schedule": ("cosine", "one-cycle"),
        "augment": ("flip", "flip-crop", "rand"),
        **{"lr": (0.02,), "batch_size": (4,), "weight_decay": (0.5,), "grad_clip": (0.1,), "seed": (1,)},
        **{"warmup_epochs": (0.9,), "label_smoothing": (0.1,), "ema": (0.9,), "mixup": (0.5,), "cutmix": (1.0,)},
        **{"normalize": (True,), "whiten": (True,), "drop_rate": (0.5,), "split": ("official",)},
    }
    test_losses = {
        (name, value): trained(baseline.changed(**{name: value})).metrics()[1]["test_loss"]
        for name, values in changes.items()
        for value in values
    }
    assert len(set(test_losses.values())) == len(test_losses)
    assert trained(baseline).metrics()[1]["test_loss"] not in test_losses.values()


def test_dropout_and_augmentation_do_not_touch_evaluation(tiny):
    config = tiny.changed(drop_rate=0.5, augment="flip-crop", epochs=1)
    run = trained(config)
    _, test_set = load_split(config)
    by_hand = loss_by_hand(run.load_model(1), test_set.images, test_set.labels)
    assert run.metrics()[1]["test_loss"] == pytest.approx(by_hand, abs=1e-5)
