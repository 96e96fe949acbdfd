"""The queue for the device: slots that are kept, waited for, and free again when their holder is gone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import torch

from minivit import machine
from minivit.config import preset
from minivit.machine import acquire_device, num_slots, num_slots_needed
from minivit.processes import PROJECT

CPU = torch.device("cpu")


class Busy(Exception):
    """There was no free slot."""


def give_up() -> None:
    raise Busy


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "num_cores", lambda: 4)


@pytest.fixture
def taken(four_cores: None) -> Iterator[ExitStack]:
    """What a test holds; given back at its end."""
    with ExitStack() as stack:
        yield stack


def test_as_many_one_thread_runs_as_there_are_cores_train_in_parallel(taken):
    for _ in range(4):
        taken.enter_context(acquire_device(CPU, give_up, 1))
    with pytest.raises(Busy), acquire_device(CPU, give_up, 1):
        pass


def test_a_training_of_several_threads_takes_as_many_slots(taken):
    taken.enter_context(acquire_device(CPU, give_up, 3))
    with pytest.raises(Busy), acquire_device(CPU, give_up, 2):
        pass
    with acquire_device(CPU, give_up, 1):
        pass


def test_without_a_number_of_slots_a_run_has_the_device_alone(taken):
    with acquire_device(CPU, give_up), pytest.raises(Busy), acquire_device(CPU, give_up, 1):
        pass
    taken.enter_context(acquire_device(CPU, give_up, 1))
    with pytest.raises(Busy), acquire_device(CPU, give_up):
        pass


def test_one_that_wants_more_than_there_is_gets_all(taken):
    with acquire_device(CPU, give_up, 64), pytest.raises(Busy), acquire_device(CPU, give_up, 1):
        pass


def test_who_gives_up_while_collecting_slots_gives_back_those_it_had(taken):
    taken.enter_context(acquire_device(CPU, give_up, 1))
    with pytest.raises(Busy), acquire_device(CPU, give_up, 4):
        pass
    with acquire_device(CPU, give_up, 3):
        pass


def test_a_large_run_that_collects_slots_is_not_overtaken_by_small_ones(taken, monkeypatch):
    monkeypatch.setattr(machine, "POLL_SECONDS", 0)
    first = ExitStack()
    first.enter_context(acquire_device(CPU, give_up, 1))
    overtaken = []

    def waiting() -> None:
        first.close()  # now a slot is free for whoever looks first
        with suppress(Busy), acquire_device(CPU, give_up, 1):
            overtaken.append("a small one")

    with acquire_device(CPU, waiting, 4):
        pass
    assert not overtaken


def test_a_slot_is_free_when_its_holder_is_killed(taken):
    code = (
        "import torch, time; from minivit import machine; machine.num_cores = lambda: 4\n"
        "with machine.acquire_device(torch.device('cpu'), lambda: None): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(Busy), acquire_device(CPU, give_up, 1):
                pass
        finally:
            holder.kill()
    with acquire_device(CPU, give_up):
        pass


def test_each_of_several_gpus_is_given_once(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        acquire_device(torch.device("cuda"), give_up, 1) as first,
        acquire_device(torch.device("cuda"), give_up, 1) as other,
    ):
        assert [str(first), str(other)] == ["cuda:0", "cuda:1"]
        with pytest.raises(Busy), acquire_device(torch.device("cuda"), give_up, 1):
            pass


def test_a_training_needs_a_slot_for_each_of_its_threads_or_one_gpu():
    config = preset("article")
    assert num_slots_needed(config, CPU) == 1
    assert num_slots_needed(config.changed(threads=3), CPU) == 3
    assert num_slots_needed(config.changed(threads=3), torch.device("cuda")) == 1
    assert num_slots(torch.device("mps")) == 1
