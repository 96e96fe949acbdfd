"""Runs that the user steers: more epochs, another learning rate, an end before the last epoch."""

import pytest
from trainings import assert_same, quiet, stop_after, trained

from minivit.engine import SILENT, Events, train
from minivit.engine.stopping import stop_reason
from minivit.errors import ConfigError, RunError
from minivit.runs import Run, adopt_learning_rate, extend, request_learning_rate


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_finished_run_trains_on_and_with_a_constant_rate_is_the_run_that_went_through(tiny, schedule):
    config = tiny.changed(epochs=2, schedule=schedule)
    run = trained(config)
    extend(run, 4)
    run = Run.open(run.path)
    train(run.config, run, SILENT)
    assert (run.state.phase, run.state.epoch, run.config.epochs) == ("done", 4, 4)
    assert [row["epoch"] for row in run.metrics()] == [0, 1, 2, 3, 4]
    through = trained(config.changed(epochs=4))
    if schedule == "constant":
        assert_same(through, run)
    rates = [row["lr"] for row in through.metrics()[3:]]
    assert [row["lr"] for row in run.metrics()[3:]] == rates


def test_only_a_larger_number_of_epochs_extends_a_run_without_a_worker(tiny):
    run = trained(tiny.changed(epochs=1))
    with pytest.raises(ConfigError, match="already has 1 epochs"):
        extend(run, 1)
    run.set_state("queued")
    with pytest.raises(RunError, match="A worker is training"):
        extend(run, 5)
    assert Run.open(run.path).config.epochs == 1


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
def test_a_learning_rate_that_changes_during_training_gives_the_run_with_that_schedule(tiny, schedule):
    config = tiny.changed(epochs=4, schedule=schedule)

    def change(row):
        if row["epoch"] in (1, 3):
            request_learning_rate(run, row["lr"] / 2 + row["epoch"] / 100)

    run = Run.create(config)
    train(config, run, Events(log=quiet, epoch_done=change))
    steered = Run.open(run.path)
    assert [epoch for epoch, _ in steered.config.lr_changes] == [1, 3]
    assert not (run.path / "lr.txt").exists()
    through = trained(steered.config)
    assert_same(through, run)
    rates, steered_rates = ([row["lr"] for row in rows] for rows in (trained(config).metrics(), run.metrics()))
    assert steered_rates[:2] == rates[:2] and steered_rates[2] != rates[2] and steered_rates[3] != rates[3]


def test_a_learning_rate_requested_while_a_run_is_interrupted_within_an_epoch_holds_from_the_next_one(tiny, every_step):
    config = tiny.changed(epochs=3)

    def pause(what, done, total):
        if (what, done) == ("epoch 2", 1):
            run.request("pause")

    run = Run.create(config)
    train(config, run, Events(log=quiet, progress=pause))
    assert run.state.phase == "paused" and run.state.epoch == 1
    request_learning_rate(run, 0.0123)
    train(config, run, SILENT)
    assert [row["lr"] for row in run.metrics()] == [config.lr, config.lr, config.lr, 0.0123]
    assert Run.open(run.path).config.lr_changes == ((2, 0.0123),)
    assert_same(trained(Run.open(run.path).config), run)


@pytest.mark.parametrize("lr", [0, -1, float("nan"), 11])
def test_a_learning_rate_out_of_bounds_is_rejected(tiny, lr):
    run = Run.create(tiny)
    with pytest.raises(ConfigError, match=r"Learning rate \(lr\)"):
        request_learning_rate(run, lr)


@pytest.mark.parametrize("content", ["x", "nan", "-1", None])
def test_a_file_without_a_learning_rate_is_no_request(tiny, content):
    run = Run.create(tiny)
    (run.path / "lr.txt").mkdir() if content is None else (run.path / "lr.txt").write_text(content)
    assert not adopt_learning_rate(run, 1) and Run.open(run.path).config == tiny


@pytest.mark.parametrize(("change", "words"), [({"minutes": 1.0}, "minutes"), ({"imported": True}, "imported")])
def test_a_run_without_epochs_of_its_own_keeps_its_learning_rate(tiny, change, words):
    with pytest.raises(RunError, match=words):
        request_learning_rate(Run.create(tiny.changed(**change)), 0.1)


@pytest.mark.parametrize(
    ("settings", "test_accs", "reason"),
    [
        ({}, [0.1, 0.9, 0.8, 0.7], None),
        ({"target_acc": 0.9}, [0.1, 0.89], None),
        ({"target_acc": 0.9}, [0.1, 0.9], "Reached the target accuracy of 90% in epoch 1."),
        ({"patience": 2}, [0.1, 0.5, 0.5], None),
        ({"patience": 2}, [0.1, 0.5, 0.4, 0.5], "no test accuracy was better than that of epoch 1"),
        ({"patience": 2}, [0.1, 0.5, 0.4, 0.6, 0.6], None),
        ({"patience": 2}, [0.5, 0.5, 0.4], "no test accuracy was better than that of epoch 0"),
    ],
)
def test_a_run_ends_at_its_target_or_when_it_no_longer_improves(tiny, settings, test_accs, reason):
    ended = stop_reason(tiny.changed(**settings), dict(enumerate(test_accs)))
    assert (ended is None) if reason is None else reason in str(ended)


def test_a_run_that_ends_early_says_why_stays_ended_and_is_trained_on_without_the_limit(tiny):
    config = tiny.changed(epochs=8, patience=2, optimizer="sgd", lr=1e-9)  # never better than the untrained model
    run = Run.create(config)
    train(config, run, stop_after(1))
    assert run.state.phase == "stopped"
    lines = []
    train(config, run, Events(log=lines.append))
    assert (run.state.phase, run.state.epoch) == ("done", 2)
    assert run.state.message == lines[-1] and "better than that of epoch 0" in run.state.message
    train(config, run, SILENT)
    assert [row["epoch"] for row in run.metrics()] == [0, 1, 2]
    extend(run, 9)
    train(run.config, run, SILENT)
    assert run.state.epoch == 9
    assert_same(trained(config.changed(epochs=9, patience=0)), run)
