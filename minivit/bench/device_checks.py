"""What has to be the same on two devices, or in two ways on one: each check measures the largest difference.

Every check also compares the CPU with the CPU, which is how the tests run it. One of them starts two processes as
`torchrun … -m minivit.bench.device_checks FOLDER DEVICE`, which train an epoch together. FOLDER has `config.json` and
gets `weights.safetensors`. Unlike the workers of a run, they share a GPU if the machine has a single one.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minivit.attention import attend
from minivit.bench.measurements import Measurement, Part, train_epoch
from minivit.config import TrainConfig
from minivit.data import ImageSet, load_split
from minivit.engine import Training, TrainStep, init_process_group
from minivit.inference import logits
from minivit.processes import python_path
from minivit.runs import Run

CPU = torch.device("cpu")
NUM_IMAGES = 256  # whose logits and maps are compared
EPOCHS = 3  # of a curve

Split = tuple[ImageSet, ImageSet]  # training and test images
Accelerate = Callable[[TrainStep, Callable[[str | None], None]], None]


def checks(name: str, config: TrainConfig, split: Split, device: torch.device) -> Iterator[Part]:
    """The checks of one model and its training on `device`."""
    exact = config.changed(precision="fp32", epochs=EPOCHS)
    images = split[1].images[:NUM_IMAGES]
    tolerance = 1e-2 if config.model.stem == "conv" else 1e-3  # cuDNN convolves in TF32, and adds in any order

    def make(on: torch.device = device, config: TrainConfig = exact) -> Training:
        return make_training(config, on, split)

    def check(what: str, tolerance: float, measure: Callable[[], float], seconds: float = 20) -> Part:
        return Part(f"{name}: {what}", seconds, partial(run_check, f"{name}: {what}", tolerance, measure))

    def between(what: str, tolerance: float, values: Callable[[Training], Tensor]) -> Part:
        return check(f"{what}, GPU against CPU", tolerance, lambda: difference(values(make(CPU)), values(make())))

    def accelerated(accelerate: Accelerate) -> float:
        return difference(weights(make()), weights_of_accelerated(make(), accelerate))

    yield between("logits", tolerance, lambda training: logits(training.model, images))
    yield between("attention", tolerance, lambda training: attend(training.model, images)[1])
    yield between("gradient", tolerance, gradient)
    yield between("curve", 2e-2, curve)
    yield check("synchronizations in ten steps", 0, lambda: synchronizations(make()))
    yield check("CUDA graph against plain step", tolerance, lambda: accelerated(TrainStep.record))
    reduced = exact.changed(precision="bf16")
    yield check("curve, bf16 against fp32", 5e-2, lambda: difference(curve(make()), curve(make(device, reduced))))
    yield check(
        "pause and resume against neither",
        tolerance / 10,
        lambda: difference(weights(make()), weights_after_pause(make(), make())),
    )
    two = partial(weights_of_two, exact, device)
    yield check("two processes against one", tolerance, lambda: difference(weights(make()), two()), 40)
    yield check("compiled against plain step", tolerance, lambda: accelerated(TrainStep.compile), 90)


def run_check(name: str, tolerance: float, measure: Callable[[], float]) -> Iterator[Measurement]:
    """The measured difference, and whether it is within the tolerance."""
    value = measure()
    yield Measurement(name, value, "", f"≤ {tolerance:g}", "pass" if value <= tolerance else "FAIL")


def make_training(config: TrainConfig, device: torch.device, split: Split) -> Training:
    """The state of a run that begins; the weights depend on the seed alone."""
    training = Training(config, device, *split)
    training.model.train()
    return training


def difference(reference: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value of the reference."""
    reference, other = reference.detach().double().cpu(), other.detach().double().cpu()
    return float((reference - other).abs().max() / reference.abs().max())


def gradient(training: Training) -> Tensor:
    """The gradient of a first batch, up to a factor: the first moment of Adam, which Muon has too."""
    training.train_step(*next(training.batches(1)))
    return training.train_step.optimizer.state["exp_avg"]


def curve(training: Training) -> Tensor:
    """Training and test loss of the first epochs, (EPOCHS, 2)."""
    rows = []
    for epoch in range(1, EPOCHS + 1):
        training.train_step.sums.zero_()
        train_epoch(training, epoch)
        rows.append(training.metrics(epoch))
    return torch.tensor([[row["train_loss"], row["test_loss"]] for row in rows])


def weights(training: Training) -> Tensor:
    """The weights after the rest of the first epoch."""
    train_epoch(training)
    return training.train_step.flat.values


def synchronizations(training: Training) -> float:
    """How often the CPU waits for the GPU within ten steps, each of which prepares its batch too."""
    batches = training.batches(1)
    for batch in islice(batches, 3):  # what is done once may wait
        training.train_step(*batch)
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        if training.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            for batch in islice(batches, 10):
                training.train_step(*batch)
        finally:
            if training.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in messages)


def weights_of_accelerated(training: Training, accelerate: Accelerate) -> Tensor:
    """The weights after an epoch of accelerated steps; RuntimeError if they were plain."""
    causes: list[str | None] = []
    accelerate(training.train_step, causes.append)
    values = weights(training)
    if causes != [None]:
        raise RuntimeError(f"The steps were plain: {causes}")
    return values


def weights_after_pause(paused: Training, resumed: Training) -> Tensor:
    """The weights after an epoch that was saved and loaded in the middle."""
    with TemporaryDirectory() as folder:
        run = Run.create(paused.config, folder)
        for batch in islice(paused.batches(1), paused.steps_per_epoch // 2):
            paused.train_step(*batch)
            paused.step += 1
        paused.save_position(run)
        resumed.load_position(run)
    return weights(resumed)


def weights_of_two(config: TrainConfig, device: torch.device) -> Tensor:
    """The weights after an epoch of two processes."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [sys.executable, *launcher, "-m", "minivit.bench.device_checks", folder, device.type]
        environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        if done.returncode:
            raise RuntimeError(done.stderr[-300:])
        return load_file(Path(folder) / "weights.safetensors")["values"]


def main(folder: Path, device_type: str) -> None:
    """Trains this process's share of the epoch; the main process saves the weights."""
    config = TrainConfig.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
    with init_process_group() as group:
        device = CPU
        if device_type == "cuda":
            device = torch.device("cuda", group.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        training = Training(config, device, *group.main_process_first(lambda: load_split(config)), group)
        values = weights(training)
        if group.is_main:
            save_file({"values": values.cpu()}, folder / "weights.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
