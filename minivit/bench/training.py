"""The speed of training on this machine against the notebook's operations, measured in turns.

Ratios are what counts: machines are shared and their speed changes from minute to minute.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from minivit.bench.reference import epochs as reference_epochs
from minivit.bench.result import Figure, Log
from minivit.config import TrainConfig, preset
from minivit.data import ImageSet, load_split
from minivit.engine import Events, Training, train
from minivit.fused import FusedViT
from minivit.machine import choose_threads
from minivit.model import MiniViT
from minivit.runs import Run

ARTICLE_ACCURACY = 0.6817  # after the article's 100 epochs
MATRIX_SIZE = 1024  # of the matrix product that stands for this machine's peak

Data = tuple[ImageSet, ImageSet]


def measure(dataset: str, data_dir: str, classes: tuple[str, ...], num_rounds: int, log: Log) -> Iterator[Figure]:
    """Figures of training on one data set; in each of `num_rounds` every variant trains one epoch."""
    article = preset("article").changed(dataset=dataset, data_dir=data_dir, classes=classes, device="cpu")
    data = load_split(article)
    yield from _per_epoch(article, data, num_rounds, log)
    yield from _quick(article, data, log)
    yield _command(article, log)


def _per_epoch(article: TrainConfig, data: Data, num_rounds: int, log: Log) -> Iterator[Figure]:
    torch.set_num_threads(1)  # once: Inductor compiles anew for another number
    plain = Training(article.changed(compile="off"), torch.device("cpu"), *data)
    compiled = Training(article.changed(compile="on"), torch.device("cpu"), *data)
    reference = reference_epochs(*data)
    log("Compiling the step …")
    compiled.train_step.maybe_compile(None, log)
    compile_seconds = _timed(lambda: _train_epoch(compiled))
    variants: dict[str, Callable[[], float]] = {
        "reference": lambda: next(reference)[0],
        "plain": lambda: _timed(lambda: _train_epoch(plain)),
        "compiled": lambda: _timed(lambda: _train_epoch(compiled)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(num_rounds):
        for name, run_epoch in variants.items():
            seconds[name].append(run_epoch())
            log(f"round {index + 1} of {num_rounds}: an epoch of {name}: {seconds[name][-1]:.2f} s")
    medians = {name: median(values) for name, values in seconds.items()}
    note = f"median of {num_rounds} rounds in turns, one thread, evaluation included"
    compiled_note = f"{note}; the first epoch took {compile_seconds:.0f} s"
    yield Figure("the notebook's operations, an epoch", medians["reference"], "s", note=note)
    yield Figure("article, an epoch", medians["plain"], "s", note=note)
    yield Figure("article compiled, an epoch", medians["compiled"], "s", note=compiled_note)
    for name, target in (("plain", "≥ 9"), ("compiled", "≥ 20")):
        ratio = median(ref / ours for ref, ours in zip(seconds["reference"], seconds[name], strict=True))
        yield Figure(f"the notebook's operations ÷ article {name}, per epoch", ratio, "×", target)
    yield from _against_peak(article, len(data[0]) / medians["plain"])


def _train_epoch(training: Training) -> None:
    """The epoch of the training loop, without commands and without the run folder."""
    training.model.train()
    for batch, target, scalars in training.batches(1):
        training.train_step(batch, target, scalars)
    training.metrics(1)


def _against_peak(config: TrainConfig, images_per_second: float) -> Iterator[Figure]:
    """Useful operations per second as a share of what a product of large matrices reaches on one thread."""
    images = torch.rand(64, 3, config.model.img_size, config.model.img_size)
    forward = FusedViT(MiniViT(config.model))
    with FlopCounterMode(display=False) as counter:
        forward(images).sum().backward()
    flop_per_image = counter.get_total_flops() / len(images)
    left, right = torch.rand(MATRIX_SIZE, MATRIX_SIZE), torch.rand(MATRIX_SIZE, MATRIX_SIZE)
    seconds = min(_timed(lambda: left @ right) for _ in range(10))
    peak = 2 * MATRIX_SIZE**3 / seconds / 1e9
    yield Figure("matrix product, one thread", peak, "GFLOP/s", note=f"{MATRIX_SIZE} × {MATRIX_SIZE}, fp32")
    yield Figure("article, images per second", images_per_second, "1/s")
    share = flop_per_image * images_per_second / 1e9 / peak
    note = f"{flop_per_image / 1e3:,.0f} kFLOP per image, forward and backward"
    yield Figure("article, share of that peak", 100 * share, "%", note=note)


def _quick(article: TrainConfig, data: Data, log: Log) -> Iterator[Figure]:
    """Time of `quick` until the article's final accuracy, against 100 epochs of the notebook's operations."""
    config = _on_same_data(article, "quick")
    torch.set_num_threads(choose_threads(config))
    begun = time.perf_counter()
    goal_seconds: float | None = None

    def check_accuracy(row: dict[str, Any]) -> None:
        nonlocal goal_seconds
        if goal_seconds is None and row["test_acc"] >= ARTICLE_ACCURACY:
            goal_seconds = time.perf_counter() - begun
            log(f"quick: {row['test_acc']:.4f} after {goal_seconds:.2f} s, in epoch {row['epoch']}")

    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        train(config, run, Events(log=lambda line: None, epoch_done=check_accuracy))
        total_seconds, accuracy = time.perf_counter() - begun, run.metrics()[-1]["test_acc"]
    torch.set_num_threads(1)
    reference_seconds = next(reference_epochs(*data))[0]
    yield Figure("quick, test accuracy", accuracy, "", note=f"{config.epochs} epochs in {total_seconds:.1f} s")
    if goal_seconds is not None:
        yield Figure(f"quick, until {ARTICLE_ACCURACY}", goal_seconds, "s", note="loading of cached images included")
        note = f"100 × {reference_seconds:.2f} s, an epoch timed right after"
        name = f"the notebook's 100 epochs ÷ quick until {ARTICLE_ACCURACY}"
        yield Figure(name, 100 * reference_seconds / goal_seconds, "×", "≥ 70", note)


def _command(article: TrainConfig, log: Log) -> Figure:
    """The whole process of `quick` from command to result, with its images in the cache."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "minivit", "train", "--preset", "quick", "--dataset", article.dataset]
        command += ["--data-dir", article.data_dir] if article.data_dir else []
        command += ["--classes", *article.classes, "--runs-dir", folder]
        seconds = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
    log(f"quick from command to result: {seconds:.1f} s")
    return Figure("quick, whole process", seconds, "s", "≤ 12", "from command to result, images cached")


def _on_same_data(article: TrainConfig, name: str) -> TrainConfig:
    data_settings = {field: getattr(article, field) for field in ("dataset", "data_dir", "classes", "device")}
    return preset(name).changed(**data_settings)


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
