"""A training that is given minutes, by a clock that goes on by a known time at each reading."""

import itertools
from types import SimpleNamespace

import pytest
from trainings import stop_after, trained

from minivit.engine import SILENT, Group, train
from minivit.engine.stopping import Clock
from minivit.errors import RunError
from minivit.runs import Run, extend

STEP = 0.25  # seconds from one reading of the clock to the next


@pytest.fixture(autouse=True)
def readings(monkeypatch):
    seconds = itertools.count(1000, STEP)
    monkeypatch.setattr("minivit.engine.stopping.time", SimpleNamespace(perf_counter=lambda: next(seconds)))


@pytest.mark.parametrize(("schedule", "last_share"), [("constant", 1), ("cosine", 0), ("one-cycle", 1 / 250_000)])
def test_a_run_that_is_given_minutes_ends_with_them_and_its_learning_rate_at_the_end_of_the_schedule(
    tiny, schedule, last_share
):
    run = trained(tiny.changed(minutes=0.1, schedule=schedule))  # 24 readings
    last = run.metrics()[-1]
    assert run.state.phase == "done" and run.state.epoch == last["epoch"] > run.config.epochs
    assert last["lr"] == pytest.approx(last_share * run.config.lr, abs=1e-12)
    steps = len(run.metrics()) - 1
    assert 0.5 * 6 <= steps * 3 * STEP <= 1.5 * 6


def test_a_finished_run_does_not_train_again_and_cannot_be_extended(tiny):
    run = trained(tiny.changed(minutes=0.05))
    rows = run.metrics()
    train(run.config, run, SILENT)
    assert run.metrics() == rows and run.state.phase == "done"
    with pytest.raises(RunError, match=r"trains for 0\.05 minutes"):
        extend(run, 100)


def test_a_resumed_run_keeps_to_the_minutes_that_it_was_given(tiny):
    config = tiny.changed(minutes=0.1)
    num_rows = len(trained(config).metrics())
    run = Run.create(config)
    train(config, run, stop_after(num_rows // 2))
    train(run.config, run, SILENT)
    assert run.state.phase == "done" and abs(len(run.metrics()) - num_rows) <= 1


def test_start_up_counts_up_to_half_of_the_time():
    assert Clock(1, startup_seconds=12).read() == pytest.approx((12 + STEP) / 60)
    assert Clock(1, startup_seconds=1000).read() == pytest.approx(0.5, abs=0.01)


def test_the_time_of_an_evaluation_is_left_at_the_end():
    clock = Clock(1)
    clock.epoch_end_seconds = 30
    assert clock.read() == pytest.approx(STEP / 30)
    assert clock.read(num_epoch_ends=2) == 1


def test_all_processes_read_the_clock_of_the_main_process():
    group = SimpleNamespace(broadcast=lambda parts: [250_000_000])
    assert Clock(1, startup_seconds=30, group=group).read() == 0.25
    assert Group().broadcast(7) == [7]
