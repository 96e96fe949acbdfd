"""What has to be the same on two devices, or in two ways on one: each check measures the largest difference.

Every function also compares the CPU with the CPU, which is how the tests run it.
"""

import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from minivit.bench.measurements import Measurement
from minivit.config import TrainConfig
from minivit.data import ImageSet
from minivit.engine import Training, TrainStep
from minivit.inference import as_float, eval_mode, logits
from minivit.processes import python_path
from minivit.runs import Run

CPU = torch.device("cpu")
NUM_IMAGES = 256  # whose logits and maps are compared
EPOCHS = 3  # of a curve

Split = tuple[ImageSet, ImageSet]  # training and test images


class Check(NamedTuple):
    """A difference that may not exceed its tolerance, and the seconds that measuring it may take."""

    name: str
    tolerance: float
    measure: Callable[[], float]
    seconds: float = 20

    def run(self) -> Measurement:
        """The measured difference; a check that raises has failed, with the message as its note."""
        try:
            difference, note = self.measure(), ""
        except Exception as error:  # of any kind: the other checks go on
            difference, note = math.nan, f": {type(error).__name__}: {str(error).strip()[:300]}"
        passed = difference <= self.tolerance
        return Measurement(self.name, difference, "", f"≤ {self.tolerance:g}", ("pass" if passed else "FAIL") + note)


def checks(config: TrainConfig, split: Split, device: torch.device) -> Iterator[Check]:
    """The checks of one model and its training on `device`."""
    exact, reduced = config.changed(precision="fp32"), config.changed(precision="bf16")
    here, args = (exact, device), (exact, split, device)
    tolerance = 1e-2 if config.model.stem == "conv" else 1e-3  # cuDNN convolves in TF32, and adds in any order
    yield Check("logits, GPU against CPU", tolerance, lambda: logits_difference(*args))
    yield Check("attention, GPU against CPU", tolerance, lambda: attention_difference(*args))
    yield Check("gradient, GPU against CPU", tolerance, lambda: gradient_difference(*args))
    yield Check("curve, GPU against CPU", 2e-2, lambda: curve_difference(split, (exact, CPU), here))
    yield Check("synchronizations in ten steps", 0, lambda: synchronizations(*args))
    yield Check("CUDA graph against plain step", tolerance, lambda: step_difference(*args, TrainStep.record))
    yield Check("curve, bf16 against fp32", 5e-2, lambda: curve_difference(split, here, (reduced, device)))
    yield Check("pause and resume against neither", tolerance / 10, lambda: resume_difference(*args))
    yield Check("two processes against one", tolerance, lambda: processes_difference(*args), 40)
    yield Check("compiled against plain step", tolerance, lambda: step_difference(*args, TrainStep.compile), 90)


def make_training(config: TrainConfig, device: torch.device, split: Split) -> Training:
    """The state of a run that begins; the weights depend on the seed alone."""
    training = Training(config, device, *split)
    training.model.train()
    return training


def train_epoch(training: Training, epoch: int = 1) -> None:
    """The steps of an epoch that are left, without commands and without the run folder."""
    for batch, target, scalars in training.batches(epoch):
        training.train_step(batch, target, scalars)
        training.step += 1


def relative_difference(reference: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value of the reference."""
    reference, other = reference.detach().double().cpu(), other.detach().double().cpu()
    return float((reference - other).abs().max() / reference.abs().max())


def logits_difference(config: TrainConfig, split: Split, device: torch.device) -> float:
    """Between the logits of the same model on the CPU and on `device`."""
    images = split[1].images[:NUM_IMAGES]
    reference, other = (logits(make_training(config, each, split).model, images) for each in (CPU, device))
    return relative_difference(reference, other)


def attention_difference(config: TrainConfig, split: Split, device: torch.device) -> float:
    """Between the attention weights of all layers on the CPU and on `device`."""
    images = split[1].images[:NUM_IMAGES]

    def attention(model_device: torch.device) -> Tensor:
        model = make_training(config, model_device, split).model
        with eval_mode(model):
            return torch.stack(model(as_float(images.to(model_device)), return_attn=True)[1])

    return relative_difference(attention(CPU), attention(device))


def gradient_difference(config: TrainConfig, split: Split, device: torch.device) -> float:
    """Between the gradients of a first batch on the CPU and on `device`, read from Adam's first moment."""

    def gradient(model_device: torch.device) -> Tensor:
        training = make_training(config.changed(optimizer="adam", compile="off"), model_device, split)
        training.train_step(*next(training.batches(1)))
        return training.train_step.optimizer.state["exp_avg"]

    return relative_difference(gradient(CPU), gradient(device))


def curve_difference(split: Split, *variants: tuple[TrainConfig, torch.device]) -> float:
    """The largest difference of a loss, training or test, in the first epochs of two runs."""
    curves = []
    for config, device in variants:
        training = make_training(config.changed(compile="off", epochs=EPOCHS), device, split)
        rows = []
        for epoch in range(1, EPOCHS + 1):
            training.model.train()
            training.step = 0
            training.train_step.sums.zero_()
            train_epoch(training, epoch)
            rows.append(training.metrics(epoch))
        curves.append(torch.tensor([[row["train_loss"], row["test_loss"]] for row in rows]))
    return float((curves[0] - curves[1]).abs().max())


def synchronizations(config: TrainConfig, split: Split, device: torch.device) -> float:
    """How often the CPU waits for the GPU within ten steps, each of which prepares its batch too."""
    training = make_training(config.changed(compile="off"), device, split)
    batches = training.batches(1)
    for batch in islice(batches, 3):  # what is done once may wait
        training.train_step(*batch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            for batch in islice(batches, 10):
                training.train_step(*batch)
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def step_difference(
    config: TrainConfig,
    split: Split,
    device: torch.device,
    accelerate: Callable[[TrainStep, Callable[[str | None], None]], None],
) -> float:
    """Between the weights after an epoch of plain steps and of accelerated ones; RuntimeError if these were plain."""
    plain, other = (make_training(config.changed(compile="on"), device, split) for _ in range(2))
    causes: list[str | None] = []
    accelerate(other.train_step, causes.append)
    for training in (plain, other):
        train_epoch(training)
    if causes != [None]:
        raise RuntimeError(f"The steps were plain: {causes}")
    return relative_difference(plain.train_step.flat.values, other.train_step.flat.values)


def resume_difference(config: TrainConfig, split: Split, device: torch.device) -> float:
    """Between the weights of an uninterrupted epoch and of one that was saved and loaded in the middle."""
    config = config.changed(compile="off")
    uninterrupted, paused, resumed = (make_training(config, device, split) for _ in range(3))
    train_epoch(uninterrupted)
    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        for batch, target, scalars in paused.batches(1):
            paused.train_step(batch, target, scalars)
            paused.step += 1
            if paused.step == paused.steps_per_epoch // 2:
                break
        paused.save_position(run)
        resumed.load_position(run)
    train_epoch(resumed)
    return relative_difference(uninterrupted.train_step.flat.values, resumed.train_step.flat.values)


def processes_difference(config: TrainConfig, split: Split, device: torch.device) -> float:
    """Between the weights after an epoch of one process and of two; they share the GPU if there is one only."""
    config = config.changed(compile="off")
    single = make_training(config, device, split)
    train_epoch(single)
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [sys.executable, *launcher, "-m", "minivit.bench.processes", folder, device.type]
        environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        if done.returncode:
            raise RuntimeError(done.stderr[-300:])
        weights = load_file(Path(folder) / "weights.safetensors")["values"]
    return relative_difference(single.train_step.flat.values, weights)
