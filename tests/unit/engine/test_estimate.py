"""The estimate of a training's time, and its progress."""

import math
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from trainings import quiet

from minivit.engine import Events, estimate_seconds, seconds_until_done, train
from minivit.runs import Run

# The estimate


def test_the_estimate_is_a_time_and_leaves_torch_as_it_was(tiny):
    torch.set_num_threads(2)
    config = tiny.changed(threads=1)
    seconds = estimate_seconds(config, 96, 24)
    assert torch.get_num_threads() == 2
    assert math.isfinite(seconds) and 0 < seconds < 600
    assert estimate_seconds(config.changed(epochs=1000), 9600, 2400) > 100 * seconds


@pytest.mark.parametrize(("devices", "cores", "batches"), [(1, 4, 1000), (2, 4, 1000), (2, 1, 2000), (4, 2, 2000)])
def test_the_estimate_shares_batches_among_as_many_processes_as_have_a_core(tiny, monkeypatch, devices, cores, batches):
    clock = count()
    one_second_on = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("minivit.engine.estimate.time", one_second_on)
    monkeypatch.setattr("minivit.engine.estimate.num_cores", lambda: cores)
    config = tiny.changed(batch_size=32, epochs=10, device="cpu", devices=devices, threads=1)
    assert estimate_seconds(config, 3200, 0) == pytest.approx(batches)


@pytest.mark.parametrize(
    ("seconds", "num_runs", "num_parallel", "total"),
    [
        ([5], 1, 1, 5),
        ([1, 2, 6], 3, 2, 7),  # one worker takes the first and the third
        ([1, 2, 6], 4, 2, 7),  # as 1, 1, 2, 6
        ([4], 9, 2, 20),
        ([1, 2, 3, 4], 2, 2, 3),
    ],
)
def test_the_time_of_a_sweep_is_that_of_its_last_worker(seconds, num_runs, num_parallel, total):
    assert seconds_until_done(seconds, num_runs, num_parallel) == total


def test_progress_is_that_of_the_epoch(tiny, every_step):
    reports, states = [], []
    run = Run.create(tiny)

    def progress(what, done, total):
        reports.append((what, done, total))
        if what == "epoch 1":
            states.append(run.state.phase)

    train(tiny, run, Events(progress=progress, log=quiet))
    for epoch in (1, 2, 3):
        assert [(done, total) for what, done, total in reports if what == f"epoch {epoch}"] == [(0, 3), (1, 3), (2, 3)]
    assert states[-1] == "training"
    assert reports[0][1:] == (0, 1)
