"""One training step: against a computation by hand, and compiled against plain."""

import math
import shutil

import pytest
import torch
from trainings import figures, loss_by_hand, trained, weights

from minivit.data import load_split
from minivit.engine import Events, TrainStep, train
from minivit.engine.compiler import Compiler, should_compile
from minivit.model import MiniViT
from minivit.runs import Run

CPU = torch.device("cpu")


def test_gradient_clipping_bounds_the_step(tiny):
    config = tiny.changed(optimizer="sgd", lr=1.0, epochs=1, batch_size=500, grad_clip=0.01)
    run = trained(config)
    before, after = weights(run, 0), weights(run, 1)
    moved = math.sqrt(sum((after[name].double() - before[name]).square().sum().item() for name in before))
    assert moved == pytest.approx(0.01 * 1.9, rel=1e-3)  # Nesterov's first step is 1 + 0.9 gradients


def test_a_gradient_within_the_bound_is_not_changed(tiny):
    config = tiny.changed(optimizer="sgd", epochs=1)
    bounded, free = trained(config.changed(grad_clip=1000)), trained(config)
    for name, value in weights(free, 1).items():
        assert torch.equal(weights(bounded, 1)[name], value), name


def test_label_smoothing_changes_the_training_loss_but_not_the_test_loss(tiny):
    frozen = {"epochs": 1, "optimizer": "sgd", "lr": 1e-12}
    plain, smooth = (trained(tiny.changed(label_smoothing=share, **frozen)) for share in (0.0, 0.5))
    assert plain.metrics()[1]["test_loss"] == smooth.metrics()[1]["test_loss"]
    train_set, _ = load_split(tiny)
    model = plain.load_model(0)
    true = loss_by_hand(model, train_set.images, train_set.labels)
    false = loss_by_hand(model, train_set.images, 1 - train_set.labels)
    assert smooth.metrics()[1]["train_loss"] == pytest.approx(0.75 * true + 0.25 * false, abs=1e-6)
    assert plain.metrics()[1]["train_loss"] == pytest.approx(true, abs=1e-6)


def test_evaluation_and_checkpoints_use_the_moving_average_of_the_weights(tiny):
    config = tiny.changed(epochs=1, batch_size=96, ema=0.9, optimizer="sgd", lr=1.0)
    averaged, plain = trained(config), trained(config.changed(ema=0))
    for name, start in weights(plain, 0).items():
        end, average = weights(plain, 1)[name], weights(averaged, 1)[name]
        torch.testing.assert_close(
            average, start + 0.9 * (end - start), rtol=1e-4, atol=1e-6
        )  # the decay begins at 1 / 10
    assert averaged.metrics()[1]["test_loss"] != plain.metrics()[1]["test_loss"]


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 1, "num_heads": 1},
        {
            **{"optimizer": "muon", "norm": "pre", "pos_embed": "learned", "cutmix": 1.0, "label_smoothing": 0.1},
            **{"whiten": True, "weight_decay": 0.1, "ema": 0.9, "grad_clip": 0.5, "depth": 1, "drop_rate": 0.1},
            "class_balance": "weights",
        },
    ],
    ids=["article", "all else"],
)
def test_training_continues_with_the_compiled_step_as_with_the_plain_one(tiny, wait_for_compiler, settings):
    lines = []
    run = Run.create(tiny.changed(compile="on", images_per_class=50, batch_size=32, epochs=2, **settings))
    train(run.config, run, Events(log=lines.append))
    assert "The step is compiled: it is enabled in the settings." in lines
    plain = trained(run.config.changed(compile="off"))
    assert figures(run)[:2] == figures(plain)[:2] and figures(run)[2] != figures(plain)[2]
    for name, value in weights(plain, 2).items():
        torch.testing.assert_close(weights(run, 2)[name], value, rtol=1e-4, atol=2e-5)
    assert run.metrics()[2]["train_loss"] == pytest.approx(plain.metrics()[2]["train_loss"], rel=1e-5)
    assert run.metrics()[2]["train_acc"] == plain.metrics()[2]["train_acc"]


def test_the_step_is_compiled_where_that_saves_more_time_than_it_takes(tiny, monkeypatch):
    large = tiny.changed(embed_dim=256, depth=6, batch_size=512)  # computing takes longer than calling
    assert should_compile(tiny, CPU, 10_000) == (
        True,
        "compiling takes about 20 s, beside the training, and would save about 6986 s",
    )
    assert not should_compile(tiny, CPU, 30)[0] and not should_compile(large, CPU, 10_000)[0]
    assert should_compile(large.changed(compile="on"), CPU, 0) == (True, "it is enabled in the settings")
    assert should_compile(large, torch.device("cuda"), 10_000)[0]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert should_compile(tiny, CPU, 10_000) == (False, "this machine has no C++ compiler")


def test_compilation_is_decided_once_and_after_the_first_epoch(tiny):
    step, lines = TrainStep(tiny, MiniViT(tiny.model)), []
    with Compiler(tiny, lines.append) as compiler:
        compiler.advance(step, None)
        assert lines == []
        for seconds_left in (30, 10_000):
            compiler.advance(step, seconds_left)
    assert len(lines) == 1 and lines[0].startswith("The step is not compiled: compiling takes about 20 s")
    assert step.compiled is None


def test_nothing_is_compiled_or_logged_if_the_setting_is_off(tiny):
    config, lines = tiny.changed(compile="off"), []
    with Compiler(config, lines.append) as compiler:
        compiler.advance(TrainStep(config, MiniViT(config.model)), 10_000)
        assert compiler.process is None and lines == []
