"""Threads follow the load: as many as there were cores for, and all of them again when the load has gone."""

import pytest
import torch
from trainings import trained, weights

from minivit.engine import SILENT, threads, train
from minivit.engine.control import StatusPoller
from minivit.engine.threads import AdaptiveThreads
from minivit.runs import Run


@pytest.fixture
def machine(monkeypatch):
    """A machine with a clock: `machine.wait(seconds, cores)` lets the threads compute on so many cores."""

    class Machine:
        wall = cpu = 100.0
        threads = 8

        def wait(self, seconds, cores):
            self.wall += seconds
            self.cpu += seconds * min(cores, self.threads)

    machine = Machine()
    monkeypatch.setattr(threads.time, "perf_counter", lambda: machine.wall)
    monkeypatch.setattr(threads.time, "process_time", lambda: machine.cpu)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(machine, "threads", count))
    return machine


def test_threads_that_have_no_core_are_given_up_and_all_are_tried_again_after_longer_and_longer_pauses(machine):
    lines = []
    adaptive = AdaptiveThreads(8, lines.append)
    machine.wait(0.3, 8)
    adaptive.adapt(1)
    used = []
    for _ in range(1000):  # 300 s in which others use three cores
        machine.wait(0.3, 5.1)
        adaptive.adapt(1)
        used.append(machine.threads)
    assert used[:5] == [8, 8, 8, 5, 5] and set(used) == {5, 8}
    assert 0.06 < used.count(8) / len(used) < 0.1
    assert lines == ["Other processes use this machine: training takes 5 of 8 threads."]
    for _ in range(60):
        machine.wait(0.3, 8)
        adaptive.adapt(1)
    assert machine.threads == 8 and adaptive.pause == threads.MIN_PAUSE


def test_cores_are_not_counted_over_the_end_of_an_epoch(machine):
    adaptive = AdaptiveThreads(8, print)
    adaptive.adapt(1)
    machine.wait(1.2, 8)
    adaptive.adapt(1)
    machine.wait(5, 1)  # evaluating and saving
    adaptive.adapt(2)
    assert machine.threads == 8
    machine.wait(1.2, 0.1)
    adaptive.adapt(2)
    assert machine.threads == 1


@pytest.mark.parametrize(("settings", "adapts"), [({"threads": 0}, True), ({"threads": 3}, False)])
def test_only_a_number_of_threads_that_the_settings_leave_open_is_adapted(tiny, monkeypatch, settings, adapts):
    monkeypatch.setattr("minivit.engine.control.choose_threads", lambda *_: 3)
    pollers = []
    create = StatusPoller.__init__
    monkeypatch.setattr(StatusPoller, "__init__", lambda self, *args: (create(self, *args), pollers.append(self))[0])
    config = tiny.changed(epochs=1, **settings)
    train(config, Run.create(config), SILENT)
    assert (pollers[0].threads is not None) == adapts


def test_the_number_of_threads_changes_a_run_by_rounding_only(tiny):
    config = tiny.changed(stem="conv", batch_size=48, augment="flip-crop", optimizer="muon", epochs=2)
    single, two = trained(config), trained(config.changed(threads=2))
    for row, other in zip(single.metrics(), two.metrics(), strict=True):
        assert row["test_loss"] == pytest.approx(other["test_loss"], abs=1e-4)
    for name, value in weights(single, 2).items():
        torch.testing.assert_close(weights(two, 2)[name], value, rtol=1e-3, atol=1e-4)
