"""What a GPU gives, in one command: `python -m minivit bench --parts gpu`. It needs no network.

First whether the results are right, then how fast they come. It takes at most about `BUDGET_SECONDS`: what does not fit
any more is reported as not run.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, islice, repeat
from math import nan
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch

from minivit.bench.device_checks import Check, Split, checks, make_training
from minivit.bench.measurements import ARTICLE_ACCURACY, Measurement, flop_per_image
from minivit.config import DATASETS, PRESETS, TrainConfig, preset
from minivit.data import load_split, select_classes
from minivit.engine import Events, train
from minivit.engine.events import ignore
from minivit.engine.step import autocast_dtype
from minivit.engine.training import Batch
from minivit.errors import ConfigError, MiniViTError
from minivit.machine import environment
from minivit.runs import Run

BUDGET_SECONDS = 8 * 60
CHECK_IMAGES = 400  # of each class, for the checks, whose reference is the CPU
TIMED_SECONDS = 2.0  # for the steps of one variant
SHORT_SECONDS = 60  # checks that take longer come last
PRESET_MINUTES = 2.5  # of the `gpu` preset, at most
MATRIX_SIZE = 8192  # of the matrix product whose speed is taken as the peak
GOALS = (ARTICLE_ACCURACY, 0.8, 0.9, 0.95)  # test accuracies whose time is reported

Accelerated = Literal["plain steps", "CUDA graph", "compiled"]
UNCOMPILED: tuple[Accelerated, ...] = ("plain steps", "CUDA graph")


class Part(NamedTuple):
    """A part of the kit: it is not run if less than these `seconds` are left."""

    name: str
    seconds: float
    measure: Callable[[], Iterator[Measurement]]


def cuda_device() -> torch.device:
    """The GPU; ConfigError if there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    mps = " MPS is not covered: it has no CUDA graphs, no nccl and no float64." * torch.backends.mps.is_available()
    raise ConfigError(f"The part 'gpu' needs a CUDA device, and this machine has none.{mps} Choose other parts.")


def gpu_kit(images: Mapping[str, Any], device: torch.device) -> Iterator[Measurement]:
    """All checks and measurements; `images` are the settings of a data set."""
    ten_classes = {"classes": preset("gpu").classes}
    presets = {
        name: select_classes(
            preset(name).changed(**images, **(ten_classes if name == "gpu" else {}), device=device.type)
        )
        for name in PRESETS
    }
    yield Measurement("GPU memory", _total_memory(device) / 1e9, "GB", note=str(environment(device)["gpu"]))
    yield from measure(presets, device, BUDGET_SECONDS)


def measure(presets: Mapping[str, TrainConfig], device: torch.device, seconds: float) -> Iterator[Measurement]:
    """The parts for these presets, within about `seconds`."""
    deadline = time.monotonic() + seconds

    def left() -> float:
        return deadline - time.monotonic()

    for part in parts(presets, device, left):
        if left() < part.seconds:
            yield Measurement(part.name, nan, "", note=f"not run: less than {part.seconds:g} s were left")
            continue
        try:
            yield from part.measure()
        except MiniViTError:
            raise
        except Exception as error:  # of any kind: the other parts go on
            yield Measurement(part.name, nan, "", note=f"FAIL: {type(error).__name__}: {str(error).strip()[:300]}")


def parts(presets: Mapping[str, TrainConfig], device: torch.device, left: Callable[[], float]) -> Iterator[Part]:
    """The parts in the order of their worth; `left` gives the seconds that are left."""
    splits = {name: load_split(config) for name, config in presets.items()}
    last: list[Part] = []  # what compiles, as that takes long and cannot be interrupted
    for name in ("article", "strong"):
        config = presets[name].changed(images_per_class=CHECK_IMAGES)
        for check in checks(config, load_split(config), device):
            part = Part(f"{name}: {check.name}", check.seconds, partial(_run_check, f"{name}: ", check))
            if check.seconds > SHORT_SECONDS:
                last.append(part)
            else:
                yield part
    peaks: dict[torch.dtype, float] = {}
    yield Part("matrix products", 10, lambda: matrix_products(device, peaks))
    for name, config in presets.items():
        yield Part(f"{name}, speed", 20, partial(speed, name, config, splits[name], device, peaks, *UNCOMPILED))
    yield Part("article, 100 epochs", 30, lambda: whole_run("article", presets["article"], left()))
    yield Part("gpu, its first minutes", 30, lambda: first_minutes(presets["gpu"], device, left() / 60 - 0.1))
    for name in ("article", "gpu"):
        last.append(
            Part(f"{name}, compiled", 90, partial(speed, name, presets[name], splits[name], device, peaks, "compiled"))
        )
    yield from last


def _run_check(prefix: str, check: Check) -> Iterator[Measurement]:
    yield check._replace(name=prefix + check.name).run()


def matrix_products(device: torch.device, peaks: dict[torch.dtype, float]) -> Iterator[Measurement]:
    """Operations per second of large matrix products, which `peaks` gets by dtype."""
    size = MATRIX_SIZE if device.type == "cuda" else 256
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.rand(2, size, size, device=device, dtype=dtype)
        times = [_seconds(device, lambda: left @ right) for _ in range(10)]  # noqa: B023, called at once
        peaks[dtype] = 2 * size**3 / min(times)
        yield Measurement(f"matrix product, {_name(dtype)}", peaks[dtype] / 1e12, "TFLOP/s", note=f"{size} × {size}")


def speed(
    name: str,
    config: TrainConfig,
    split: Split,
    device: torch.device,
    peaks: Mapping[torch.dtype, float],
    *titles: Accelerated,
) -> Iterator[Measurement]:
    """Images per second with the data path and, on the same batch, without augmentation and copies; memory."""
    dtype = autocast_dtype(config, device)
    flop = flop_per_image(config)
    for title in titles:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        training = make_training(config, device, split)
        accelerate = {
            "plain steps": None,
            "CUDA graph": training.train_step.record,
            "compiled": training.train_step.compile,
        }
        if start := accelerate[title]:
            start(_raise_cause)
        batches = (batch for epoch in count(1) for batch in training.batches(epoch))
        fixed = next(batches)
        for what, source in (("", batches), (", the same batch", repeat(fixed))):
            images_per_second = _images_per_second(training.train_step, source, device)
            share = flop * images_per_second / peaks[dtype]
            note = f"{flop / 1e6:,.1f} MFLOP per image: {share:.1%} of the {_name(dtype)} product"
            yield Measurement(f"{name}, {title}{what}", images_per_second, "1/s", note=note)
        yield Measurement(f"{name}, {title}, memory", _peak_memory(device) / 1e6, "MB", note="peak, images included")


def _raise_cause(cause: str | None) -> None:
    """Fails the part whose steps would be plain otherwise."""
    if cause:
        raise RuntimeError(cause)


def _images_per_second(step: Callable[..., None], batches: Iterator[Batch], device: torch.device) -> float:
    num_images, begun = 0, 0.0
    for _ in range(2):  # the first warms up
        num_images, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < TIMED_SECONDS:
            for batch, target, scalars in islice(batches, 10):
                step(batch, target, scalars)
                num_images += len(batch)
            _synchronize(device)
    return num_images / (time.perf_counter() - begun)


def whole_run(name: str, config: TrainConfig, timeout: float) -> Iterator[Measurement]:
    """A complete run as a process of its own, with the imports."""
    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "minivit.worker", str(run.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise RuntimeError(done.stdout[-300:])
        accuracy = run.metrics()[-1]["test_acc"]
    note = f"test accuracy {accuracy:.4f} on {_title(config)}"
    yield Measurement(f"{name}, {config.epochs} epochs, from command to result", seconds, "s", "≤ 15", note)


def first_minutes(config: TrainConfig, device: torch.device, minutes: float) -> Iterator[Measurement]:
    """The preset with a schedule for a few minutes: accuracy, and the time to each of the `GOALS`."""
    config = config.changed(minutes=min(minutes, PRESET_MINUTES))
    begun, ends = time.perf_counter(), list[float]()
    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        train(config, run, Events(log=ignore, epoch_done=lambda _: ends.append(time.perf_counter() - begun)))
        rows = run.metrics()
    about = f"{_title(config)}, {len(config.classes)} classes"
    note = f"{len(rows) - 1} epochs in {ends[-1]:.0f} s on {about}"
    yield Measurement(f"gpu, {config.minutes:.1f} minutes, test accuracy", rows[-1]["test_acc"], "", "≥ 0.9", note)
    for goal in GOALS:
        reached = [end for end, row in zip(ends, rows, strict=True) if row["test_acc"] >= goal]
        note = f"on {about}" if reached else f"not reached on {about}"
        yield Measurement(f"gpu, until {goal}", reached[0] if reached else nan, "s", "≤ 60" * (goal == 0.9), note)
    speeds = [row["images_per_second"] for row in rows[1:]]
    yield Measurement("gpu, images per second", median(speeds), "1/s", note="median of the epochs")


def _title(config: TrainConfig) -> str:
    return DATASETS[config.dataset].title


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    _synchronize(device)
    begun = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - begun


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else nan


def _total_memory(device: torch.device) -> float:
    return torch.cuda.get_device_properties(device).total_memory
