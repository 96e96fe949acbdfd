"""What one batch changes, by hand, and compiled beside plain."""

import math
import shutil

import pytest
import torch
from trainings import loss_by_hand, trained, weights

from minivit.data import load_split
from minivit.engine import Step, train
from minivit.model import MiniViT
from minivit.runs import Run


def test_gradient_clipping_bounds_the_step(tiny):
    config = tiny.changed(optimizer="sgd", lr=1.0, epochs=1, batch_size=500, grad_clip=0.01)
    run = trained(config)
    before, after = weights(run, 0), weights(run, 1)
    moved = math.sqrt(sum((after[name].double() - before[name]).square().sum().item() for name in before))
    assert moved == pytest.approx(0.01 * 1.9, rel=1e-3)  # Nesterov's first step is 1 + 0.9 gradients


def test_a_gradient_within_the_bound_is_left_alone(tiny):
    config = tiny.changed(optimizer="sgd", epochs=1)
    bounded, free = trained(config.changed(grad_clip=1000)), trained(config)
    for name, value in weights(free, 1).items():
        assert torch.equal(weights(bounded, 1)[name], value), name


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


def test_the_average_of_the_weights_is_what_is_shown_and_kept(tiny):
    config = tiny.changed(epochs=1, batch_size=96, ema=0.9, optimizer="sgd", lr=1.0)
    averaged, plain = trained(config), trained(config.changed(ema=0))
    for name, start in weights(plain, 0).items():
        end, shown = weights(plain, 1)[name], weights(averaged, 1)[name]
        torch.testing.assert_close(shown, start + 0.9 * (end - start), rtol=1e-4, atol=1e-6)  # 1 / 10 is kept at first
    assert averaged.metrics()[1]["test_loss"] != plain.metrics()[1]["test_loss"]


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 1, "num_heads": 1},
        {"whiten": True, "optimizer": "adamw", "weight_decay": 0.1, "ema": 0.9, "grad_clip": 0.5, "depth": 1},
        {"optimizer": "muon", "norm": "pre", "pos_embed": "learned", "cutmix": 1.0, "label_smoothing": 0.1, "depth": 1},
    ],
    ids=["article", "whitened", "muon"],
)
def test_a_compiled_step_changes_what_the_plain_one_does(tiny, settings):
    said = []
    config = tiny.changed(compile="on", images_per_class=50, batch_size=32, epochs=1, **settings)
    run = Run.create(config)
    train(config, run, say=said.append)
    assert any("The step is compiled, as the settings ask for." in line for line in said)
    plain = trained(config.changed(compile="off"))
    for name, value in weights(plain, 1).items():
        torch.testing.assert_close(weights(run, 1)[name], value, rtol=1e-4, atol=2e-5)
    assert run.metrics()[1]["train_loss"] == pytest.approx(plain.metrics()[1]["train_loss"], rel=1e-5)
    assert run.metrics()[1]["train_acc"] == plain.metrics()[1]["train_acc"]


def test_whether_a_step_is_compiled_is_decided_by_what_it_saves_and_said(tiny, monkeypatch):
    def decided(seconds_left, many_small=True, **settings):
        said = []
        step = Step(tiny.changed(batch_size=4, **settings), MiniViT(tiny.model), many_small=many_small)
        step.decide(None, said.append)
        step.decide(seconds_left, said.append)
        if step.compiled is not None:  # which is reported when it has worked
            step(torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64), torch.zeros(8))
        return step.compiled is not None, said

    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    assert decided(10_000)[0] and "would save about 6000 s" in decided(10_000)[1][0]
    assert not decided(50)[0] and "not compiled: compiling takes about 45 s" in decided(50)[1][0]
    assert decided(1, compile="on")[0] and not decided(10_000, many_small=False)[0]
    assert decided(10_000, compile="off") == (False, [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not decided(10_000)[0] and "no C++ compiler" in decided(10_000)[1][0]
