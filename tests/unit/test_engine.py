"""The training loop on real drawn images, and against torch's own schedules and a loss written out by hand."""

import math
import shutil
from itertools import count, product
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from minivit import engine, machine
from minivit.config import TrainConfig
from minivit.data import load_split, patches
from minivit.engine import (
    FlatParameters,
    control,
    estimate_seconds,
    learning_rate,
    make_optimizer,
    train,
)
from minivit.engine import step as step_module
from minivit.engine.step import StepLoss
from minivit.engine.whitening import plain_weights, whiten
from minivit.errors import ConfigError, DataError, RunError, TrainingError
from minivit.model import MiniViT
from minivit.predict import predict_run, wilson
from minivit.runs import Run

pytestmark = pytest.mark.timeout(120)  # a loop that never ends fails

CLOCK = ("train_seconds", "eval_seconds", "images_per_second")  # what no two runs have in common


def quiet(*_: object) -> None:
    pass


def trained(config: TrainConfig) -> Run:
    run = Run.create(config)
    train(config, run, say=quiet)
    return run


def weights(run: Run, epoch: int) -> dict[str, Tensor]:
    return load_file(run.path / "checkpoints" / f"epoch-{epoch:04}.safetensors")


def figures(run: Run) -> list[dict[str, Any]]:
    """The metrics without what the clock says."""
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in run.metrics()]


def assert_same(one: Run, other: Run) -> None:
    """Bit for bit."""
    assert figures(one) == figures(other)
    assert one.epochs() == other.epochs()
    for epoch in one.epochs():
        mine, theirs = weights(one, epoch), weights(other, epoch)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert torch.equal(value, theirs[name]), (epoch, name)


def loss_by_hand(model: MiniViT, images: Tensor, labels: Tensor) -> float:
    """Mean of -ln p(true class), image by image in float64."""
    model = model.double().eval()
    losses = []
    for image, label in zip(images, labels.tolist(), strict=True):
        scores = model(image[None].double() / 255)[0].tolist()
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[label])
    return math.fsum(losses) / len(losses)


@pytest.fixture
def every_step(monkeypatch):
    """The loop looks up at every step."""
    monkeypatch.setattr(control, "GLANCE_SECONDS", -1.0)


# Epoch 0


def test_epoch_0_is_the_freshly_seeded_model_and_is_kept_before_the_first_step(tiny, every_step):
    config, seen = tiny.changed(seed=5), []

    def progress(what, done, total):
        if what == "epoch 1" and done == 0:
            seen.append((run.epochs(), [row["epoch"] for row in run.metrics()], run.load_resume()[1]["epoch"]))

    run = Run.create(config)
    train(config, run, progress, quiet)
    assert seen == [([0], [0], "0")]
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


def test_each_training_image_is_learned_from_once_an_epoch_and_no_held_out_image_ever(tiny, seen):
    for split in ("article", "official"):
        config = tiny.changed(split=split, epochs=2, batch_size=25)
        seen.clear()
        trained(config)
        train_set, held_out = load_split(config)
        one_epoch = sorted(image.numpy().tobytes() for image in train_set.images)
        num = len(one_epoch)
        assert sorted(seen[:num]) == sorted(seen[num:]) == one_epoch
        assert seen[:num] != seen[num:]  # in another order
        assert not {image.numpy().tobytes() for image in held_out.images} & set(seen)


def test_augmentation_changes_each_training_image_by_itself_and_anew_every_epoch(tiny, seen):
    trained(tiny.changed(augment="flip"))
    train_set, _ = load_split(tiny)
    mirrored = {image.flip(2).numpy().tobytes(): number for number, image in enumerate(train_set.images)}
    plain = {image.numpy().tobytes(): number for number, image in enumerate(train_set.images)}
    epochs = []
    for epoch in range(3):
        shown = seen[96 * epoch : 96 * (epoch + 1)]
        assert sorted((mirrored | plain)[image] for image in shown) == list(range(96))
        epochs.append({mirrored[image] for image in shown if image in mirrored})
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
    _, held_out = load_split(tiny)
    for row in run.metrics():
        model = run.load_model(row["epoch"])
        assert row["test_loss"] == pytest.approx(loss_by_hand(model, held_out.images, held_out.labels), abs=1e-5)
        said = model(held_out.images.double() / 255).argmax(1)
        assert row["test_acc"] == (said == held_out.labels).double().mean().item()


@pytest.mark.parametrize("batch_size", [95, 40, 96, 500])
def test_train_loss_is_the_mean_over_images_also_where_the_last_batch_is_smaller(tiny, batch_size):
    run = trained(tiny.changed(epochs=1, batch_size=batch_size, optimizer="sgd", lr=1e-12))  # weights stay
    train_set, _ = load_split(tiny)
    row, model = run.metrics()[1], run.load_model(0)
    assert row["train_loss"] == pytest.approx(loss_by_hand(model, train_set.images, train_set.labels), abs=1e-6)
    said = model(train_set.images.double() / 255).argmax(1)
    assert row["train_acc"] == (said == train_set.labels).double().mean().item()


def test_normalisation_comes_from_the_training_images_and_is_in_every_checkpoint(tiny):
    run = trained(tiny.changed(normalize=True, epochs=1))
    train_set, held_out = load_split(tiny)
    pixels = train_set.images.double() / 255
    for epoch in run.epochs():
        kept = weights(run, epoch)
        torch.testing.assert_close(kept["mean"].double(), pixels.mean((0, 2, 3))[:, None, None])
        torch.testing.assert_close(kept["std"].double(), pixels.std((0, 2, 3), correction=0)[:, None, None])
    everything = torch.cat([pixels, held_out.images.double() / 255]).mean((0, 2, 3))
    assert not torch.allclose(kept["mean"].flatten().double(), everything, atol=1e-7)


def test_a_channel_that_is_the_same_in_all_images_does_not_spoil_normalisation(tiny, monkeypatch):
    def without_blue(config, progress=None):
        parts = load_split(config)
        for part in parts:
            part.images[:, 2] = 0
        return parts

    monkeypatch.setattr(engine, "load_split", without_blue)
    run = trained(tiny.changed(normalize=True, epochs=1))
    assert all(math.isfinite(row["test_loss"]) for row in run.metrics())


def test_shapes_are_learned_better_than_by_guessing():
    config = TrainConfig(dataset="shapes", classes=("ring", "arrow"), images_per_class=200, device="cpu").changed(
        patch_size=8, embed_dim=32, num_heads=2, norm="pre", pos_embed="learned", normalize=True, epochs=12,
        batch_size=32, lr=3e-3, schedule="one-cycle",
    )  # fmt: skip
    run = trained(config)
    said = predict_run(run)
    low, _ = wilson(int(said.right.sum()), len(said.labels))
    assert low > 0.55
    assert said.accuracy == run.metrics()[-1]["test_acc"]
    assert predict_run(run, 0).accuracy < said.accuracy


# The learning rate


def schedule_of(config: TrainConfig, steps_per_epoch: int) -> list[float]:
    return [learning_rate(config, step, steps_per_epoch) for step in range(config.epochs * steps_per_epoch)]


def steps_of(scheduler: torch.optim.lr_scheduler.LRScheduler, num_steps: int) -> list[float]:
    taken = []
    for step in range(num_steps):
        taken.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if step < num_steps - 1:
            scheduler.step()
    return taken


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (1, 2), (3, 1), (2, 5), (10, 1), (7, 13)])
def test_one_cycle_is_torchs_one_cycle(tiny, epochs, steps_per_epoch):
    config = tiny.changed(schedule="one-cycle", epochs=epochs, lr=0.3, warmup_epochs=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    total = epochs * steps_per_epoch
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=total, cycle_momentum=False)
    expected = steps_of(theirs, total)
    assert schedule_of(config, steps_per_epoch) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("epochs", "steps_per_epoch", "warmup"), [(4, 5, 0.0), (4, 5, 1.0), (6, 7, 2.5), (3, 1, 1.0)])
def test_cosine_after_warm_up_is_torchs_cosine_annealing_down_to_0(tiny, epochs, steps_per_epoch, warmup):
    config = tiny.changed(schedule="cosine", epochs=epochs, lr=0.3, warmup_epochs=warmup)
    rising = round(warmup * steps_per_epoch)
    falling = epochs * steps_per_epoch - rising
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=falling - 1)
    expected = [0.3 * (step + 1) / rising for step in range(rising)] + steps_of(cosine, falling)
    ours = schedule_of(config, steps_per_epoch)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert ours[-1] == pytest.approx(0, abs=1e-12) and max(ours) == pytest.approx(0.3)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.0])
def test_no_learning_rate_is_ever_negative_or_above_the_setting(tiny, schedule, warmup):
    for steps_per_epoch in (1, 2, 5):
        config = tiny.changed(schedule=schedule, warmup_epochs=warmup, lr=0.1)
        ours = schedule_of(config, steps_per_epoch)
        assert all(-1e-18 <= lr <= 0.1 + 1e-12 for lr in ours)
        assert ours[0] > 0 and len(ours) == 3 * steps_per_epoch


def test_a_constant_learning_rate_is_constant_after_warm_up(tiny):
    config = tiny.changed(lr=0.5, warmup_epochs=1, epochs=3)
    assert schedule_of(config, 4) == pytest.approx([0.125, 0.25, 0.375, *[0.5] * 9])


def test_the_row_of_an_epoch_holds_the_learning_rate_of_its_last_step_and_that_of_epoch_0_the_first(tiny):
    config = tiny.changed(schedule="cosine", warmup_epochs=1)
    rows = trained(config).metrics()
    steps = schedule_of(config, 3)
    assert [row["lr"] for row in rows] == pytest.approx([steps[0], steps[2], steps[5], steps[8]])


# All settings train


OTHERS = [
    {
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
        "normalize": True,
        "norm": "pre",
        "pos_embed": "learned",
        "act": "gelu",
        "depth": 1,
        "num_heads": 4,
        "warmup_epochs": 0.5,
    },
    {"in_chans": 1, "grad_clip": 0.01, "drop_rate": 0.9, "label_smoothing": 0.99, "split": "official"},
]
COMBINATIONS = product(("adam", "adamw", "sgd"), ("constant", "cosine", "one-cycle"), ("none", "flip", "rand"))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": optimizer, "schedule": schedule, "augment": augment, **OTHERS[number % 3 - number // 3 % 3]}
        for number, (optimizer, schedule, augment) in enumerate(COMBINATIONS)
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_setting_trains(tiny, settings):
    run = trained(tiny.changed(images_per_class=10, batch_size=10, epochs=1, **settings))
    assert run.state.phase == "done" and run.epochs() == [0, 1]
    assert math.isfinite(run.metrics()[1]["train_loss"])
    before, after = weights(run, 0), weights(run, 1)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"head.weight", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= changed
    assert not changed & {"mean", "std"}


def test_gradient_clipping_bounds_the_step(tiny):
    config = tiny.changed(optimizer="sgd", lr=1.0, epochs=1, batch_size=500, grad_clip=0.01)
    run = trained(config)
    before, after = weights(run, 0), weights(run, 1)
    moved = math.sqrt(sum((after[name].double() - before[name]).square().sum().item() for name in before))
    assert moved == pytest.approx(0.01 * 1.9, rel=1e-3)  # Nesterov's first step is 1 + 0.9 gradients


def test_label_smoothing_weighs_all_classes_and_leaves_the_test_loss_alone(tiny):
    frozen = {"epochs": 1, "optimizer": "sgd", "lr": 1e-12}
    plain, smooth = (trained(tiny.changed(label_smoothing=share, **frozen)) for share in (0.0, 0.5))
    assert plain.metrics()[1]["test_loss"] == smooth.metrics()[1]["test_loss"]
    train_set, _ = load_split(tiny)
    model = plain.load_model(0)
    true = loss_by_hand(model, train_set.images, train_set.labels)
    false = loss_by_hand(model, train_set.images, 1 - train_set.labels)
    assert smooth.metrics()[1]["train_loss"] == pytest.approx(0.75 * true + 0.25 * false, abs=1e-6)
    assert plain.metrics()[1]["train_loss"] == pytest.approx(true, abs=1e-6)


def test_adamw_decays_matrices_and_nothing_else(tiny):
    config = tiny.changed(pos_embed="learned", optimizer="adamw", weight_decay=0.3, lr=0.1)
    model = MiniViT(config.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
    optimizer = make_optimizer(config, FlatParameters(model))
    optimizer.step()  # with gradients of 0, only decay moves anything
    decayed = {name for name, parameter in model.named_parameters() if parameter.allclose(torch.tensor(0.97))}
    assert all(parameter.eq(1).all() for name, parameter in model.named_parameters() if name not in decayed)
    matrices = [
        f"blocks.{block}.{layer}.weight"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert decayed == {"patch_embed.proj.weight", "head.weight", *matrices}


def test_parameters_side_by_side_are_the_models_own_and_give_the_same_steps(tiny):
    config = tiny.changed(weight_decay=0.1)
    ours, theirs = MiniViT(config.model), MiniViT(config.model)
    theirs.load_state_dict(ours.state_dict())
    flat = FlatParameters(ours)
    optimizer = make_optimizer(config, flat)
    reference = torch.optim.Adam(theirs.parameters(), lr=config.lr, weight_decay=0.1)
    for _ in range(5):
        images = torch.rand(4, 3, 32, 32)
        flat.gradients.zero_()
        ours(images).square().sum().backward()
        optimizer.step()
        reference.zero_grad()
        theirs(images).square().sum().backward()
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_compiled_step_gives_the_gradients_of_the_plain_one(tiny):
    said = []
    config = tiny.changed(compile="on", depth=1, norm="post", num_heads=1, images_per_class=50, batch_size=32, epochs=1)
    run = Run.create(config)
    train(config, run, say=said.append)
    assert any("The step is compiled, as the settings ask for." in line for line in said)
    plain = trained(config.changed(compile="off"))
    for name, value in weights(plain, 1).items():
        torch.testing.assert_close(weights(run, 1)[name], value, rtol=1e-4, atol=1e-5)


def test_whether_a_step_is_compiled_is_decided_by_what_it_saves_and_said(tiny, monkeypatch):
    def decided(seconds_left, many_small=True, **settings):
        said = []
        loss = StepLoss(tiny.changed(**settings), lambda images: images, torch.device("cpu"), many_small)
        loss.decide(None, said.append)
        loss.decide(seconds_left, said.append)
        return loss.compiled is not None, said

    assert decided(10_000)[0] and "would save about 2000 s" in decided(10_000)[1][0]
    assert not decided(50)[0] and "not compiled: compiling takes about 45 s" in decided(50)[1][0]
    assert decided(1, compile="on")[0] and not decided(10_000, many_small=False)[0]
    assert decided(10_000, compile="off") == (False, [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not decided(10_000)[0] and "no C++ compiler" in decided(10_000)[1][0]


def test_whitening_decorrelates_the_training_patches_and_is_folded_into_what_is_kept(tiny):
    config = tiny.changed(whiten=True, normalize=True, epochs=1, patch_size=4)
    train_set, held_out = load_split(config)
    model = MiniViT(config.model)
    model.mean.fill_(0.5)
    model.std.fill_(0.25)
    whiten(model, train_set.images)
    cut = patches((train_set.images.float() / 255 - 0.5) / 0.25, 4).flatten(2).flatten(0, 1)
    matrix = model.patch_embed.proj.parametrizations.weight[0].matrix
    covariance = (cut @ matrix.T).T.cov()
    strong = covariance.diagonal() > 0.9  # the rest is noise and stays below
    assert strong.sum() > 20 and covariance.diagonal().max() < 1.01
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    plain = MiniViT(config.model)
    plain.load_state_dict(plain_weights(model))
    images = held_out.images[:8].float() / 255
    torch.testing.assert_close(plain(images), model(images), rtol=1e-5, atol=1e-5)
    run = trained(config)
    assert "patch_embed.proj.weight" in weights(run, 1)
    assert run.load_model(1)(images).isfinite().all()


def test_the_average_of_the_weights_is_what_is_shown_and_kept(tiny):
    config = tiny.changed(epochs=1, batch_size=96, ema=0.9, optimizer="sgd", lr=1.0)
    averaged, plain = trained(config), trained(config.changed(ema=0))
    for name, start in weights(plain, 0).items():
        end, shown = weights(plain, 1)[name], weights(averaged, 1)[name]
        torch.testing.assert_close(shown, start + 0.9 * (end - start), rtol=1e-4, atol=1e-6)  # 1 / 10 is kept at first
    assert averaged.metrics()[1]["test_loss"] != plain.metrics()[1]["test_loss"]


def test_dropout_and_augmentation_do_not_touch_evaluation(tiny):
    config = tiny.changed(drop_rate=0.5, augment="flip-crop", epochs=1)
    run = trained(config)
    _, held_out = load_split(config)
    by_hand = loss_by_hand(run.load_model(1), held_out.images, held_out.labels)
    assert run.metrics()[1]["test_loss"] == pytest.approx(by_hand, abs=1e-5)


# The same again


RANDOM = {"augment": "flip-crop", "drop_rate": 0.3, "schedule": "one-cycle", "batch_size": 40}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny):
    config = tiny.changed(seed=3, **RANDOM)
    one = trained(config)
    torch.rand(1000)  # whatever happened before does not matter
    assert_same(one, trained(config))
    other = trained(config.changed(seed=4))
    for mine, theirs in zip(one.metrics(), other.metrics(), strict=True):
        assert mine["test_loss"] != theirs["test_loss"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_run_paused_at_every_step_is_bit_for_bit_the_run_that_went_through(tiny, every_step, optimizer):
    config = tiny.changed(
        optimizer=optimizer,
        weight_decay=0.01,
        label_smoothing=0.1,
        grad_clip=1,
        ema=0.9,
        whiten=True,
        mixup=0.5,
        **RANDOM,
    )
    through = trained(config)
    run = Run.create(config)
    pauses = 0
    while run.state.phase != "done":
        steps = count()

        def progress(what, done, total, steps=steps):
            if what.startswith("epoch") and next(steps) == 1:
                run.ask("pause")

        train(config, run, progress, quiet)
        pauses += run.state.phase == "paused"
        assert run.state.phase == "done" or pauses < 20
    assert pauses == 8  # of 9 steps
    assert_same(through, run)


@pytest.mark.parametrize(("wish", "phase"), [("pause", "paused"), ("stop", "stopped")])
def test_a_wish_in_the_middle_of_an_epoch_is_heard_there_and_resuming_loses_nothing(tiny, every_step, wish, phase):
    config, said = tiny.changed(normalize=True, **RANDOM), []
    run = Run.create(config)

    def progress(what, done, total):
        assert (what, done) != ("epoch 2", 2), "it went on"
        if (what, done) == ("epoch 2", 1):
            run.ask(wish)

    train(config, run, progress, said.append)
    assert run.state.phase == phase and run.state.epoch == 1 and "Resume" in run.state.message
    assert run.epochs() == [0, 1] and [row["epoch"] for row in run.metrics()] == [0, 1]
    assert run.load_resume()[1]["step"] == "1"
    assert said[-1] == f"{phase} after epoch 1"
    train(config, run, say=said.append)
    assert run.state.phase == "done"
    assert_same(trained(config), run)
    assert not any("epoch 0" in line for line in said[4:])  # what was done is not done again


def test_a_wish_that_ended_an_earlier_worker_does_not_end_the_next(tiny, every_step):
    run = Run.create(tiny)
    run.ask("stop")
    train(tiny, run, say=quiet)
    assert run.state.phase == "stopped" and run.metrics() == []
    train(tiny, run, say=quiet)
    assert run.state.phase == "done" and run.asked() != "stop"


def test_a_training_that_is_over_is_not_begun_again(tiny):
    run = trained(tiny)
    before = (run.path / "metrics.jsonl").read_bytes()
    train(tiny, run, say=quiet)
    assert run.state.phase == "done" and (run.path / "metrics.jsonl").read_bytes() == before


class Crash(Exception):
    pass


@pytest.mark.parametrize("place", ["save_checkpoint", "append_metrics", "save_resume", "set_state", "say"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_crash_at_any_place_between_two_epochs_loses_nothing(tiny, monkeypatch, place, epoch):
    config = tiny.changed(**RANDOM)
    run = Run.create(config)
    through = trained(config)

    def say(line):
        if place == "say" and line.startswith(f"epoch {epoch}"):
            raise Crash

    if place != "say":
        calls, original = count(), getattr(Run, place)

        def crash(self, *given, **named):
            number = (
                given[0].get("epoch") if place == "append_metrics" else given[1] if place != "save_resume" else None
            )
            if (next(calls) if number is None else number) == epoch and given[0] != "loading" and given[0] != "failed":
                raise Crash
            return original(self, *given, **named)

        monkeypatch.setattr(Run, place, crash)
    with pytest.raises(Crash):
        train(config, run, say=say)
    assert run.state.phase == "failed" and "Crash" in run.state.message
    if place != "say":
        monkeypatch.setattr(Run, place, original)
    train(config, run, say=quiet)
    assert run.state.phase == "done"
    assert_same(through, run)


# What goes wrong


def test_a_diverging_loss_ends_the_run_with_the_learning_rate_and_keeps_what_was_good(tiny):
    config = tiny.changed(optimizer="sgd", lr=10.0, epochs=30)
    run = Run.create(config)
    with pytest.raises(TrainingError, match=r"no longer a number in epoch \d+.*learning rate \(now 10\)"):
        train(config, run, say=quiet)
    assert run.state.phase == "failed" and "now 10" in run.state.message
    assert run.epochs() == list(range(run.state.epoch + 1))
    assert run.load_model(run.state.epoch)


@pytest.mark.parametrize("batch_size", [32, 500])
def test_nothing_that_is_not_a_number_is_ever_kept(tiny, batch_size):
    config = tiny.changed(optimizer="sgd", lr=10.0, weight_decay=1.0, norm="pre", epochs=200, batch_size=batch_size)
    run = Run.create(config)
    with pytest.raises(TrainingError):
        train(config, run, say=quiet)
    for row in run.metrics():
        assert all(math.isfinite(value) for value in row.values() if value is not None)
    for epoch in run.epochs():
        assert all(value.isfinite().all() for value in weights(run, epoch).values())
    assert all(value.isfinite().all() for name, value in run.load_resume()[0].items() if name.startswith("model."))


NO_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 549760008200 bytes."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 GiB."),
    MemoryError(),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_told_with_the_settings_that_ask_for_it(tiny, monkeypatch, error):
    def forward(*_, **__):
        raise error

    monkeypatch.setattr(MiniViT, "forward", forward)
    run = Run.create(tiny)
    with pytest.raises(TrainingError, match="memory for 16 patches an image and a batch of 32"):
        train(tiny, run, say=quiet)
    assert run.state.phase == "failed" and "16 patches" in run.state.message
    with pytest.raises(TrainingError, match="16 patches"):
        estimate_seconds(tiny, 96, 24)


def test_another_mistake_is_not_taken_for_too_little_memory(tiny, monkeypatch):
    def forward(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MiniViT, "forward", forward)
    run = Run.create(tiny)
    with pytest.raises(RuntimeError, match="mat1"):
        train(tiny, run, say=quiet)
    assert run.state.phase == "failed" and "RuntimeError: mat1" in run.state.message


def test_images_that_are_missing_fail_the_run_with_the_same_sentence(tiny, tmp_path):
    config = tiny.changed(dataset="folder", data_dir=str(tmp_path / "nowhere"))
    run = Run.create(config)
    with pytest.raises(DataError) as failed:
        train(config, run, say=quiet)
    assert str(tmp_path / "nowhere") in str(failed.value)
    assert (run.state.phase, run.state.message) == ("failed", str(failed.value))
    assert run.epochs() == [] and run.metrics() == []


def test_a_device_that_is_not_here_is_refused_by_name(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"no {name} device"):
            machine.pick_device(name)
    assert machine.pick_device("auto") == torch.device("cpu")
    config = tiny.changed(device="cuda")
    run = Run.create(config)
    with pytest.raises(ConfigError, match="no cuda device"):
        train(config, run, say=quiet)
    assert run.state.phase == "failed" and "cuda" in run.state.message


def test_the_keyboard_stops_a_run_and_it_goes_on_later(tiny, every_step):
    run = Run.create(tiny)

    def progress(what, done, total):
        if (what, done) == ("epoch 2", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, run, progress, quiet)
    assert run.state.phase == "stopped" and not run.worker_alive()
    train(tiny, run, say=quiet)
    assert_same(trained(tiny), run)


def test_a_run_that_is_held_is_refused_and_left_as_it_is(tiny, monkeypatch):
    monkeypatch.setattr("minivit.runs.HOLD_SECONDS", 0.1)
    run = Run.create(tiny)
    with run.hold():
        run.set_state("training", 2, "by the first worker")
        with pytest.raises(RunError, match=run.id):
            train(tiny, run, say=quiet)
        assert (run.state.phase, run.state.epoch, run.state.message) == ("training", 2, "by the first worker")


# The queue


def test_a_second_training_waits_for_the_device_and_then_trains(tiny, every_step):
    run, seen = Run.create(tiny), []
    first = machine.turn_on(torch.device("cpu"), quiet)
    first.__enter__()

    def progress(what, done, total):
        if "Waiting" in what:
            seen.append((run.state.phase, run.epochs()))
            if len(seen) == 2:
                first.__exit__(None, None, None)

    train(tiny, run, progress, quiet)
    assert seen[1] == ("queued", [])
    assert run.state.phase == "done"


def test_a_training_is_stopped_while_it_waits_for_the_device(tiny, every_step):
    run = Run.create(tiny)
    with machine.turn_on(torch.device("cpu"), quiet):
        train(tiny, run, lambda what, done, total: run.ask("stop"), quiet)
        assert run.state.phase == "stopped" and run.metrics() == []
        assert not run.worker_alive()
    train(tiny, run, say=quiet)
    assert run.state.phase == "done"


def test_trainings_on_different_devices_do_not_wait_for_each_other():
    waits = []
    with (
        machine.turn_on(torch.device("cpu"), lambda: waits.append("cpu")),
        machine.turn_on(torch.device("cuda"), lambda: waits.append("cuda")),
    ):
        assert waits == []


# The estimate


def test_the_estimate_is_a_time_and_leaves_torch_as_it_was(tiny):
    torch.set_num_threads(2)
    config = tiny.changed(threads=1)
    seconds = estimate_seconds(config, 96, 24)
    assert torch.get_num_threads() == 2
    assert math.isfinite(seconds) and 0 < seconds < 600
    assert estimate_seconds(config.changed(epochs=1000), 9600, 2400) > 100 * seconds


def test_progress_says_how_far_the_epoch_is(tiny, every_step):
    told, states = [], []
    run = Run.create(tiny)

    def progress(what, done, total):
        told.append((what, done, total))
        if what == "epoch 1":
            states.append(run.state.phase)

    train(tiny, run, progress, quiet)
    for epoch in (1, 2, 3):
        assert [(done, total) for what, done, total in told if what == f"epoch {epoch}"] == [(0, 3), (1, 3), (2, 3)]
    assert states[-1] == "training"
    assert told[0][1:] == (0, 1)
