"""Trainings that wait for the device."""

import pytest
import torch
from trainings import quiet

from minivit import machine
from minivit.engine import SILENT, Events, train
from minivit.runs import Run

pytestmark = pytest.mark.timeout(120)  # a loop that never ends fails


# The queue


def test_a_second_training_waits_for_the_device_and_then_trains(tiny, every_step):
    run, seen = Run.create(tiny), []
    first = machine.acquire_device(torch.device("cpu"), quiet)
    first.__enter__()

    def progress(what, done, total):
        if "Waiting" in what:
            seen.append((run.state.phase, run.epochs()))
            if len(seen) == 2:
                first.__exit__(None, None, None)

    train(tiny, run, Events(progress=progress, log=quiet))
    assert seen[1] == ("queued", [])
    assert run.state.phase == "done"


def test_a_training_is_stopped_while_it_waits_for_the_device(tiny, every_step):
    run = Run.create(tiny)
    with machine.acquire_device(torch.device("cpu"), quiet):
        train(tiny, run, Events(progress=lambda *_: run.request("stop"), log=quiet))
        assert run.state.phase == "stopped" and run.metrics() == []
        assert not run.is_worker_alive()
    train(tiny, run, SILENT)
    assert run.state.phase == "done"


def test_runs_on_different_devices_do_not_wait_for_each_other():
    waits = []
    with (
        machine.acquire_device(torch.device("cpu"), lambda: waits.append("cpu")),
        machine.acquire_device(torch.device("cuda"), lambda: waits.append("cuda")),
    ):
        assert waits == []
