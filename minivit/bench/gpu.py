"""What a GPU gives, in one command: `python -m minivit bench --parts gpu`. It needs no network.

First whether the results are right, then how fast they come. It takes at most about `BUDGET_SECONDS`: what does not fit
any more is reported as not run.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, islice, repeat
from math import nan
from statistics import median
from typing import Any, Literal

import torch

from minivit.bench.device_checks import Split, checks, make_training
from minivit.bench.measurements import (
    ARTICLE_ACCURACY,
    Measurement,
    Part,
    flop_per_image,
    peak_speed,
    run_as_process,
    run_here,
    synchronize,
)
from minivit.config import DATASETS, PRESETS, TrainConfig, preset
from minivit.data import load_split, select_classes
from minivit.engine.step import autocast_dtype
from minivit.engine.training import Batch
from minivit.errors import ConfigError
from minivit.machine import environment

BUDGET_SECONDS = 8 * 60
CHECK_IMAGES = 400  # of each class, for the checks, whose reference is the CPU
TIMED_SECONDS = 2.0  # for the steps of one variant
SHORT_SECONDS = 60  # checks that take longer come last
PRESET_MINUTES = 2.5  # of the `gpu` preset, at most
MATRIX_SIZE = 8192  # of the matrix product whose speed is taken as the peak
GOALS = (ARTICLE_ACCURACY, 0.8, 0.9, 0.95)  # test accuracies whose time is reported

Accelerated = Literal["plain steps", "CUDA graph", "compiled"]


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
    yield Measurement(
        "GPU memory",
        torch.cuda.get_device_properties(device).total_memory / 1e9,
        "GB",
        note=str(environment(device)["gpu"]),
    )
    yield from measure(presets, device, BUDGET_SECONDS)


def measure(presets: Mapping[str, TrainConfig], device: torch.device, seconds: float) -> Iterator[Measurement]:
    """The parts for these presets, within about `seconds`."""
    deadline = time.monotonic() + seconds
    for part in parts(presets, device, deadline):
        if deadline - time.monotonic() < part.seconds:
            yield Measurement(part.name, nan, "", note=f"not run: less than {part.seconds:g} s were left")
        else:
            yield from part.run()


def parts(presets: Mapping[str, TrainConfig], device: torch.device, deadline: float) -> list[Part]:
    """The parts in the order of their worth; last what compiles, as that takes long and cannot be interrupted."""
    splits = {name: load_split(config) for name, config in presets.items()}
    peaks: dict[torch.dtype, float] = {}

    def time_preset(name: str, seconds: float, *titles: Accelerated) -> Part:
        what = "compiled" if titles == ("compiled",) else "speed"
        measure = partial(speed, name, presets[name], splits[name], device, peaks, *titles)
        return Part(f"{name}, {what}", seconds, measure)

    def left() -> float:
        return deadline - time.monotonic()

    result: list[Part] = []
    for name in ("article", "strong"):
        config = presets[name].changed(images_per_class=CHECK_IMAGES)
        result += checks(name, config, load_split(config), device)
    result.append(Part("matrix products", 10, lambda: matrix_products(device, peaks)))
    result += [time_preset(name, 20, "plain steps", "CUDA graph") for name in presets]
    result.append(Part("article, 100 epochs", 30, lambda: whole_run("article", presets["article"], left())))
    result.append(Part("gpu, its first minutes", 30, lambda: first_minutes(presets["gpu"], left() / 60 - 0.1)))
    result += [time_preset(name, 90, "compiled") for name in ("article", "gpu")]
    return sorted(result, key=lambda part: part.seconds > SHORT_SECONDS)


def matrix_products(device: torch.device, peaks: dict[torch.dtype, float]) -> Iterator[Measurement]:
    """Operations per second of large matrix products, which `peaks` gets by dtype."""
    size = MATRIX_SIZE if device.type == "cuda" else 256
    for dtype in (torch.float32, torch.bfloat16):
        peaks[dtype] = peak_speed(device, dtype, size)
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
        accelerate = {"CUDA graph": training.train_step.record, "compiled": training.train_step.compile}
        if title in accelerate:
            accelerate[title](_raise_cause)
        batches = (batch for epoch in count(1) for batch in training.batches(epoch))
        fixed_batch = next(batches)
        for what, source in (("", batches), (", the same batch", repeat(fixed_batch))):
            images_per_second = _images_per_second(training.train_step, source, device)
            share = flop * images_per_second / peaks[dtype]
            note = f"{flop / 1e6:,.1f} MFLOP per image: {share:.1%} of the {_name(dtype)} product"
            yield Measurement(f"{name}, {title}{what}", images_per_second, "1/s", note=note)
        memory = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else nan
        yield Measurement(f"{name}, {title}, memory", memory, "MB", note="peak, images included")


def _raise_cause(cause: str | None) -> None:
    """Fails the part whose steps would be plain otherwise."""
    if cause:
        raise RuntimeError(cause)


def _images_per_second(step: Callable[..., None], batches: Iterator[Batch], device: torch.device) -> float:
    num_images = 0
    start = 0.0
    for _ in range(2):  # the first warms up
        num_images = 0
        start = time.perf_counter()
        while time.perf_counter() - start < TIMED_SECONDS:
            for batch, target, scalars in islice(batches, 10):
                step(batch, target, scalars)
                num_images += len(batch)
            synchronize(device)
    return num_images / (time.perf_counter() - start)


def whole_run(name: str, config: TrainConfig, timeout: float) -> Iterator[Measurement]:
    """A complete run as a process of its own, with the imports."""
    seconds, rows = run_as_process(config, timeout)
    note = f"test accuracy {rows[-1]['test_acc']:.4f} on {_title(config)}"
    yield Measurement(f"{name}, {config.epochs} epochs, from command to result", seconds, "s", "≤ 15", note)


def first_minutes(config: TrainConfig, minutes: float) -> Iterator[Measurement]:
    """The preset with a schedule for a few minutes: accuracy, and the time to each of the `GOALS`."""
    config = config.changed(minutes=min(minutes, PRESET_MINUTES))
    ends, rows = run_here(config)
    about = f"{_title(config)}, {len(config.classes)} classes"
    note = f"{len(rows) - 1} epochs in {ends[-1]:.0f} s on {about}"
    yield Measurement(f"gpu, {config.minutes:.1f} minutes, test accuracy", rows[-1]["test_acc"], "", "≥ 0.9", note)
    for goal in GOALS:
        times = [end for end, row in zip(ends, rows, strict=True) if row["test_acc"] >= goal]
        note = f"on {about}" if times else f"not reached on {about}"
        yield Measurement(f"gpu, until {goal}", times[0] if times else nan, "s", "≤ 60" * (goal == 0.9), note)
    speeds = [row["images_per_second"] for row in rows[1:]]
    yield Measurement("gpu, images per second", median(speeds), "1/s", note="median of the epochs")


def _title(config: TrainConfig) -> str:
    return DATASETS[config.dataset].title


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
