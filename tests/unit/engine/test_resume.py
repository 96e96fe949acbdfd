"""A run that is paused, stopped or killed goes on exactly where it was."""

from itertools import count

import pytest
import torch
from trainings import assert_same, quiet, stop_after, trained

from minivit.engine import SILENT, Events, train
from minivit.errors import RunError
from minivit.runs import Run

# The same again


RANDOM = {"augment": "flip-crop", "drop_rate": 0.3, "schedule": "one-cycle", "batch_size": 40}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny):
    config = tiny.changed(seed=3, **RANDOM)
    run = trained(config)
    torch.rand(1000)  # whatever happened before does not matter
    assert_same(run, trained(config))
    other = trained(config.changed(seed=4))
    for mine, theirs in zip(run.metrics(), other.metrics(), strict=True):
        assert mine["test_loss"] != theirs["test_loss"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
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
                run.request("pause")

        train(config, run, Events(progress=progress, log=quiet))
        pauses += run.state.phase == "paused"
        assert run.state.phase == "done" or pauses < 20
    assert pauses == 8  # of 9 steps
    assert_same(through, run)


@pytest.mark.parametrize(("command", "phase"), [("pause", "paused"), ("stop", "stopped")])
def test_a_command_in_the_middle_of_an_epoch_is_heard_there_and_resuming_loses_nothing(
    tiny, every_step, command, phase
):
    config, lines = tiny.changed(normalize=True, **RANDOM), []
    run = Run.create(config)

    def progress(what, done, total):
        assert (what, done) != ("epoch 2", 2), "it went on"
        if (what, done) == ("epoch 2", 1):
            run.request(command)

    train(config, run, Events(progress=progress, log=lines.append))
    assert run.state.phase == phase and run.state.epoch == 1 and "Resume" in run.state.message
    assert run.epochs() == [0, 1] and [row["epoch"] for row in run.metrics()] == [0, 1]
    assert run.load_resume()[1]["step"] == "1"
    assert lines[-1] == f"{phase} after epoch 1"
    train(config, run, Events(log=lines.append))
    assert run.state.phase == "done"
    assert_same(trained(config), run)
    assert not any("epoch 0" in line for line in lines[4:])  # what was done is not done again


def test_a_command_that_ended_an_earlier_worker_does_not_end_the_next(tiny, every_step):
    run = Run.create(tiny)
    run.request("stop")
    train(tiny, run, SILENT)
    assert run.state.phase == "stopped" and run.metrics() == []
    train(tiny, run, SILENT)
    assert run.state.phase == "done" and run.requested_command() != "stop"


def test_a_training_that_is_over_is_not_begun_again(tiny):
    run = trained(tiny)
    before = (run.path / "metrics.jsonl").read_bytes()
    train(tiny, run, SILENT)
    assert run.state.phase == "done" and (run.path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("epoch", "step", "seconds", "clock") for value in ("-1", "x", "9" * 30)),
        *({name: value} for name in ("seconds", "clock") for value in ("nan", "-inf")),
        {"epoch": "4"},
        {"epoch": "2"},  # of which there is no row
        {"step": "4"},
        *({"model.head.bias": value} for value in (torch.zeros(1), torch.zeros(2).double(), torch.zeros(2) + 0j)),
        {"model.head.bias": torch.tensor([0, float("nan")])},
        {"average": torch.zeros(1)},
    ],
)
def test_a_position_that_no_training_saved_is_refused_and_nothing_is_recorded(tiny, change):
    config = tiny.changed(ema=0.9)
    run = Run.create(config)
    train(config, run, stop_after(1))
    tensors, position = run.load_resume()
    parts = [{name: change.get(name, value) for name, value in part.items()} for part in (tensors, position)]
    run.save_resume(*parts)
    with pytest.raises(RunError, match=rf"resume\.safetensors of {run.id} (does not match|has NaN)"):
        train(config, run, SILENT)
    assert run.state.phase == "failed" and [row["epoch"] for row in run.metrics()] == [0, 1]


def test_a_run_whose_metrics_are_lost_continues_and_does_not_record_a_trained_model_as_untrained(tiny):
    run = Run.create(tiny)
    train(tiny, run, stop_after(1))
    (run.path / "metrics.jsonl").unlink()
    train(tiny, run, SILENT)
    assert [row["epoch"] for row in run.metrics()] == [2, 3]


class Crash(Exception):
    pass


@pytest.mark.parametrize("method", ["save_checkpoint", "append_metrics", "save_resume", "set_state", "log"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_crash_anywhere_between_two_epochs_loses_nothing(tiny, monkeypatch, method, epoch):
    config = tiny.changed(**RANDOM)
    run = Run.create(config)
    through = trained(config)

    def log(line):
        if method == "log" and line.startswith(f"epoch {epoch}"):
            raise Crash

    if method != "log":
        calls = count()
        original = getattr(Run, method)

        def epoch_of(args):
            if method == "save_resume":
                return next(calls)
            return args[0].get("epoch") if method == "append_metrics" else args[1]

        def crash(self, *args, **named):
            if epoch_of(args) == epoch and args[0] != "loading" and args[0] != "failed":
                raise Crash
            return original(self, *args, **named)

        monkeypatch.setattr(Run, method, crash)
    with pytest.raises(Crash):
        train(config, run, Events(log=log))
    assert run.state.phase == "failed" and "Crash" in run.state.message
    if method != "log":
        monkeypatch.setattr(Run, method, original)
    train(config, run, SILENT)
    assert run.state.phase == "done"
    assert_same(through, run)
