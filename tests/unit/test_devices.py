"""Two real processes under torchrun against one: the same curve, and how they leave and go on together."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from minivit.config import TrainConfig
from minivit.engine import train
from minivit.runs import Run
from minivit.worker import PROJECT

pytestmark = pytest.mark.timeout(400)

DEADLINE = 300  # seconds; each process imports torch, which takes a minute where the machine is busy

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def torchrun():
    """Starts the worker of a run in several processes; none is left afterwards."""
    started = []

    def start(run: Run, num_processes: int = 2) -> subprocess.Popen:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", num_processes]
        worker = ["-m", "minivit.worker", run.path]
        with (run.path / "log.txt").open("ab") as log:
            started.append(
                subprocess.Popen([*map(str, command + worker)], cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
            )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait()


def assert_same_within_rounding(one: Run, other: Run) -> None:
    """Rows and weights, but for the clock's figures."""
    rows, others = one.metrics(), other.metrics()
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in others]
    for mine, theirs in zip(rows, others, strict=True):
        for name in ("train_loss", "train_acc", "test_loss", "test_acc", "lr"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6), (mine["epoch"], name)
    assert one.moments() == other.moments()
    for path in sorted((one.path / "checkpoints").iterdir()):
        kept, theirs = load_file(path), load_file(other.path / "checkpoints" / path.name)
        for name, value in kept.items():
            torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-4, msg=f"{path.name} {name}")


# 122 images in batches of 11: uneven shares, and a last batch of one image, of which the second process has none.
UNEVEN = {
    "images_per_class": 61,
    "split": "official",
    "batch_size": 11,
    "augment": "flip-crop",
    "schedule": "cosine",
    "grad_clip": 1.0,
    "label_smoothing": 0.1,
}


def through(config: TrainConfig) -> Run:
    """What one process makes of `config`."""
    run = Run.create(config)
    train(config, run, say=lambda _: None)
    return run


def test_two_processes_give_the_curve_and_the_weights_of_one(tiny, torchrun):
    config = tiny.changed(optimizer="sgd", normalize=True, **UNEVEN)
    run = Run.create(config)
    assert torchrun(run).wait(DEADLINE) == 0, run.log()
    assert run.state.phase == "done"
    assert_same_within_rounding(through(config), run)
    environment = run.environment
    assert environment["world_size"] == 2
    assert [one["device"] for one in environment["devices"]] == ["cpu", "cpu"]
    assert run.log().count("epoch 1:") == 1  # the main process alone speaks
