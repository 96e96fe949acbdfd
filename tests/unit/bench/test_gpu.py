"""The GPU kit, with the CPU in the place of the GPU: every check passes, and fails if the second model differs."""

import warnings
from math import isnan

import pytest
import torch

from minivit.bench import device_checks, gpu
from minivit.bench.device_checks import CPU, checks, make_training, run_check
from minivit.bench.measurements import Measurement, Part
from minivit.data import load_split
from minivit.engine import TrainStep, step_graph
from minivit.errors import ConfigError

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

    monkeypatch.setattr(step_graph, "record_cuda_graph", record)


def result_of(config, name) -> Measurement:
    """The result of one check, the CPU against itself."""
    (check,) = [check for check in checks("tiny", config, load_split(config), CPU) if check.name == f"tiny: {name}"]
    (result,) = check.run()
    return result


def failing(name: str) -> Part:
    return Part(name, 20, lambda: run_check(name, 0.1, lambda: 0.2))


def test_the_checks_cover_what_the_kit_promises(tiny):
    assert [check.name for check in checks("tiny", tiny, load_split(tiny), CPU)] == [f"tiny: {name}" for name in NAMES]


@pytest.mark.parametrize("name", CHEAP)
def test_a_check_passes_for_the_same_model_and_fails_for_another(tiny, name, monkeypatch, record_on_cpu):
    same = result_of(tiny, name)
    assert same.note == "pass" and same.value <= float(same.target.removeprefix("≤ "))
    made = []

    def perturbed(*args):
        training = make_training(*args)
        if made:
            training.train_step.flat.values.add_(torch.randn_like(training.train_step.flat.values))
        made.append(training)
        return training

    monkeypatch.setattr(device_checks, "make_training", perturbed)
    other = result_of(tiny, name)
    assert other.note == "FAIL" and other.value > float(other.target.removeprefix("≤ "))


def test_two_processes_train_as_one(tiny):
    result = result_of(tiny, "two processes against one")
    assert result.note == "pass", result
    assert result.value > 0  # sums of two shards are rounded differently


@pytest.mark.filterwarnings("ignore:called a synchronizing")  # in the first steps
def test_each_time_the_cpu_waits_for_the_gpu_counts(tiny, monkeypatch):
    assert result_of(tiny.changed(images_per_class=300), "synchronizations in ten steps").value == 0

    def waiting(*args):
        training = make_training(*args)
        step = training.train_step.eager

        def eager(*batch):
            step(*batch)
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

        monkeypatch.setattr(training.train_step, "eager", eager)
        return training

    monkeypatch.setattr(device_checks, "make_training", waiting)
    assert result_of(tiny.changed(images_per_class=300), "synchronizations in ten steps").value == 10


def test_a_check_that_raises_has_failed_with_the_message():
    def broken() -> float:
        raise RuntimeError("CUDA error: an illegal memory access")

    (result,) = Part("logits", 20, lambda: run_check("logits", 1e-3, broken)).run()
    assert isnan(result.value) and result.note == "FAIL: RuntimeError: CUDA error: an illegal memory access"


def test_without_a_gpu_a_step_is_not_a_graph_and_the_check_fails_with_the_reason(tiny):
    result = result_of(tiny, "CUDA graph against plain step")
    assert isnan(result.value) and result.note.startswith("FAIL: RuntimeError: The steps were plain: ")


def test_the_kit_measures_every_part_and_continues_after_one_that_fails(tiny, monkeypatch, record_on_cpu):
    for name, value in {"TIMED_SECONDS": 0.01, "CHECK_IMAGES": 60, "PRESET_MINUTES": 0.01, "GOALS": (0.0, 1.1)}.items():
        monkeypatch.setattr(gpu, name, value)
    slow = Part("slow", 1e6, lambda: iter(()))
    monkeypatch.setattr(gpu, "checks", lambda name, *args: [failing(f"{name}: logits"), slow])
    monkeypatch.setattr(gpu, "flop_per_image", lambda config: 1 / 0 if config.seed else 1e6)
    monkeypatch.setattr(TrainStep, "compile", TrainStep.record)
    presets = {name: tiny for name in ("article", "strong", "gpu")} | {"quick": tiny.changed(seed=1)}
    results = {result.name: result for result in gpu.measure(presets, CPU, 1000)}
    assert results["article: logits"].note == results["strong: logits"].note == "FAIL"
    assert results["slow"].note == "not run: less than 1e+06 s were left"
    assert results["quick, speed"].note.startswith("FAIL: ZeroDivisionError")
    for title in ("plain steps", "plain steps, the same batch", "CUDA graph", "CUDA graph, the same batch", "compiled"):
        assert results[f"article, {title}"].value > 0 and "1.0 MFLOP per image" in results[f"article, {title}"].note
    assert 0 < results["article, 3 epochs, from command to result"].value < 100
    assert "on Synthetic shapes" in results["article, 3 epochs, from command to result"].note
    assert results["gpu, until 0.0"].value > 0 and isnan(results["gpu, until 1.1"].value)
    assert results["gpu, images per second"].value > 0


def test_nothing_is_measured_when_the_time_is_up(tiny):
    results = list(gpu.measure(dict.fromkeys(("article", "strong", "gpu"), tiny), CPU, 0))
    assert results and all(isnan(result.value) and result.note.startswith("not run") for result in results)


def test_without_a_gpu_the_command_says_so_and_what_mps_is_not_good_for(monkeypatch):
    with pytest.raises(ConfigError, match="'gpu' needs a CUDA device, and this machine has none"):
        gpu.cuda_device()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="MPS is not covered"):
        gpu.cuda_device()
