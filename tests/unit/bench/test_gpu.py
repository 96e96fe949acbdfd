"""The GPU kit, with the CPU in the place of the GPU: every check passes, and fails if the second model differs."""

import warnings
from math import isnan

import pytest
import torch

from minivit.bench import device_checks
from minivit.bench.device_checks import CPU, Check, checks, make_training
from minivit.bench.measurements import Measurement
from minivit.data import load_split
from minivit.engine import cuda_graph

NAMES = [
    "logits, GPU against CPU",
    "attention, GPU against CPU",
    "gradient, GPU against CPU",
    "curve, GPU against CPU",
    "synchronizations in ten steps",
    "CUDA graph against plain step",
    "curve, bf16 against fp32",
    "pause and resume against neither",
    "two processes against one",
    "compiled against plain step",
]
CHEAP = [name for name in NAMES if not name.startswith(("synchro", "two", "compiled"))]


@pytest.fixture
def record_on_cpu(monkeypatch):
    """Records a function by running it, and repeats it by running it again."""

    def record(function):
        function()
        return function

    monkeypatch.setattr(cuda_graph, "record_cuda_graph", record)


def run_check(config, name) -> Measurement:
    """The result of one check, the CPU against itself."""
    (check,) = [check for check in checks(config, load_split(config), CPU) if check.name == name]
    return check.run()


def test_the_checks_cover_what_the_kit_promises(tiny):
    assert [check.name for check in checks(tiny, load_split(tiny), CPU)] == NAMES


@pytest.mark.parametrize("name", CHEAP)
def test_a_check_passes_for_the_same_model_and_fails_for_another(tiny, name, monkeypatch, record_on_cpu):
    same = run_check(tiny, name)
    assert same.note == "pass" and same.value <= float(same.target.removeprefix("≤ "))
    made = []

    def perturbed(*args):
        training = make_training(*args)
        if made:
            training.train_step.flat.values.add_(torch.randn_like(training.train_step.flat.values))
        made.append(training)
        return training

    monkeypatch.setattr(device_checks, "make_training", perturbed)
    other = run_check(tiny, name)
    assert other.note == "FAIL" and other.value > float(other.target.removeprefix("≤ "))


def test_two_processes_train_as_one(tiny):
    result = run_check(tiny, "two processes against one")
    assert result.note == "pass", result
    assert result.value > 0  # sums of two shards are rounded differently


@pytest.mark.filterwarnings("ignore:called a synchronizing")  # in the first steps
def test_each_time_the_cpu_waits_for_the_gpu_counts(tiny, monkeypatch):
    assert run_check(tiny.changed(images_per_class=300), "synchronizations in ten steps").value == 0

    def waiting(*args):
        training = make_training(*args)
        step = training.train_step.eager

        def eager(*batch):
            step(*batch)
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

        monkeypatch.setattr(training.train_step, "eager", eager)
        return training

    monkeypatch.setattr(device_checks, "make_training", waiting)
    assert run_check(tiny.changed(images_per_class=300), "synchronizations in ten steps").value == 10


def test_a_check_that_raises_has_failed_with_the_message():
    def broken() -> float:
        raise RuntimeError("CUDA error: an illegal memory access")

    result = Check("logits", 1e-3, broken).run()
    assert isnan(result.value) and result.note == "FAIL: RuntimeError: CUDA error: an illegal memory access"


def test_without_a_gpu_a_step_is_not_a_graph_and_the_check_fails_with_the_reason(tiny):
    result = run_check(tiny, "CUDA graph against plain step")
    assert isnan(result.value) and result.note.startswith("FAIL: RuntimeError: The step is not a CUDA graph: ")
