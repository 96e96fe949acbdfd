"""Trainings that fail or are interrupted: what is reported, and what is kept."""

import math

import pytest
import torch
from trainings import assert_same, quiet, trained, weights

from minivit import machine
from minivit.engine import SILENT, Events, estimate_seconds, train
from minivit.errors import ConfigError, DataError, RunError, TrainingError
from minivit.fused import FusedViT
from minivit.runs import Run

pytestmark = pytest.mark.timeout(120)  # a loop that never ends fails


# What goes wrong


def test_a_diverging_loss_ends_the_run_with_the_learning_rate_and_keeps_what_was_good(tiny):
    config = tiny.changed(optimizer="sgd", lr=10.0, epochs=30)
    run = Run.create(config)
    with pytest.raises(TrainingError, match=r"became NaN or infinite in epoch \d+.*learning rate \(now 10\)"):
        train(config, run, SILENT)
    assert run.state.phase == "failed" and "now 10" in run.state.message
    assert run.epochs() == list(range(run.state.epoch + 1))
    assert run.load_model(run.state.epoch)


@pytest.mark.parametrize("batch_size", [32, 500])
def test_nothing_that_is_not_a_number_is_ever_kept(tiny, batch_size):
    config = tiny.changed(optimizer="sgd", lr=10.0, weight_decay=1.0, norm="pre", epochs=200, batch_size=batch_size)
    run = Run.create(config)
    with pytest.raises(TrainingError):
        train(config, run, SILENT)
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
def test_too_little_memory_is_reported_with_the_settings_that_cause_it(tiny, monkeypatch, error):
    def forward(*_, **__):
        raise error

    monkeypatch.setattr(FusedViT, "forward", forward)
    run = Run.create(tiny)
    with pytest.raises(TrainingError, match="memory for 16 patches per image and a batch of 32"):
        train(tiny, run, SILENT)
    assert run.state.phase == "failed" and "16 patches" in run.state.message
    with pytest.raises(TrainingError, match="16 patches"):
        estimate_seconds(tiny, 96, 24)


def test_another_error_is_not_reported_as_too_little_memory(tiny, monkeypatch):
    def forward(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(FusedViT, "forward", forward)
    run = Run.create(tiny)
    with pytest.raises(RuntimeError, match="mat1"):
        train(tiny, run, SILENT)
    assert run.state.phase == "failed" and "RuntimeError: mat1" in run.state.message


def test_images_that_are_missing_fail_the_run_with_the_same_sentence(tiny, tmp_path):
    config = tiny.changed(dataset="folder", data_dir=str(tmp_path / "nowhere"))
    run = Run.create(config)
    with pytest.raises(DataError) as failed:
        train(config, run, SILENT)
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
        train(config, run, SILENT)
    assert run.state.phase == "failed" and "cuda" in run.state.message


def test_ctrl_c_stops_a_run_and_it_can_be_resumed(tiny, every_step):
    run = Run.create(tiny)

    def progress(what, done, total):
        if (what, done) == ("epoch 2", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, run, Events(progress=progress, log=quiet))
    assert run.state.phase == "stopped" and not run.is_worker_alive()
    train(tiny, run, SILENT)
    assert_same(trained(tiny), run)


def test_a_run_that_is_held_is_refused_and_left_as_it_is(tiny, monkeypatch):
    monkeypatch.setattr("minivit.runs.files.LOCK_SECONDS", 0.1)
    run = Run.create(tiny)
    with run.hold():
        run.set_state("training", 2, "by the first worker")
        with pytest.raises(RunError, match=run.id):
            train(tiny, run, SILENT)
        assert (run.state.phase, run.state.epoch, run.state.message) == ("training", 2, "by the first worker")
