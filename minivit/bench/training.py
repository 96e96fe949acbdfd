"""How fast training is on this machine, beside the notebook's own operations, in one run and interleaved.

Ratios are what counts: machines are shared and noisy, and what stands beside each other here was measured in turns.
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
from minivit.bench.result import Figure
from minivit.config import TrainConfig, preset
from minivit.data import ImageSet, load_split
from minivit.engine import Glance, Training
from minivit.fused import FusedViT
from minivit.machine import choose_threads
from minivit.model import MiniViT
from minivit.runs import Run

GOAL = 0.6817  # the accuracy that the article ends with
MATRIX = 1024  # side of the matrices whose product is this machine's peak


def measure(
    dataset: str, data_dir: str, classes: tuple[str, ...], rounds: int, say: Callable[[str], None]
) -> Iterator[Figure]:
    """Figures of training on the train part of one data set; `rounds` epochs of each way, in turns."""
    article = preset("article").changed(dataset=dataset, data_dir=data_dir, classes=classes, device="cpu")
    data = load_split(article)
    with TemporaryDirectory() as folder:
        yield from _per_epoch(article, data, folder, rounds, say)
        yield from _quick(article, data, folder, say)
    yield _command(article, say)


def _per_epoch(
    article: TrainConfig, data: tuple[ImageSet, ImageSet], folder: str, rounds: int, say: Callable[[str], None]
) -> Iterator[Figure]:
    torch.set_num_threads(1)  # once: Inductor compiles anew for another number
    plain = _begin(article.changed(compile="off"), data, folder)
    compiled = _begin(article.changed(compile="on"), data, folder)
    reference = reference_epochs(*data)
    say("Compiling the step …")
    compiling = _epoch(compiled)
    ways: dict[str, Callable[[], float]] = {
        "reference": lambda: next(reference)[0],
        "plain": lambda: _epoch(plain),
        "compiled": lambda: _epoch(compiled),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, run_epoch in ways.items():
            seconds[name].append(run_epoch())
            say(f"round {number + 1} of {rounds}: an epoch of {name}: {seconds[name][-1]:.2f} s")
    middle = {name: median(taken) for name, taken in seconds.items()}
    note = f"median of {rounds} rounds in turns, one thread, evaluation included"
    yield Figure("the notebook's operations, an epoch", middle["reference"], "s", note=note)
    yield Figure("article, an epoch", middle["plain"], "s", note=note)
    yield Figure(
        "article compiled, an epoch", middle["compiled"], "s", note=f"{note}; the first took {compiling:.0f} s"
    )
    for name, aim in (("plain", "≥ 9"), ("compiled", "≥ 20")):
        ratio = median(one / other for one, other in zip(seconds["reference"], seconds[name], strict=True))
        yield Figure(f"the notebook's operations ÷ article {name}, per epoch", ratio, "×", aim)
    yield from _against_peak(plain, len(data[0]) / middle["plain"])


def _against_peak(training: Training, images_per_second: float) -> Iterator[Figure]:
    """Useful operations a second beside what a product of large matrices reaches on one thread."""
    images = torch.rand(64, 3, training.config.model.img_size, training.config.model.img_size)
    forward = FusedViT(MiniViT(training.config.model))
    with FlopCounterMode(display=False) as counted:
        forward(images).sum().backward()
    per_image = counted.get_total_flops() / len(images)
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    seconds = min(_timed(lambda: left @ right) for _ in range(10))
    peak = 2 * MATRIX**3 / seconds / 1e9
    yield Figure("matrix product, one thread", peak, "GFLOP/s", note=f"{MATRIX} × {MATRIX}, fp32")
    yield Figure("article, images a second", images_per_second, "1/s")
    share = per_image * images_per_second / 1e9 / peak
    yield Figure(
        "article, share of that peak", 100 * share, "%",
        note=f"{per_image / 1e3:,.0f} kFLOP an image, forward and backward",
    )  # fmt: skip


def _quick(
    article: TrainConfig, data: tuple[ImageSet, ImageSet], folder: str, say: Callable[[str], None]
) -> Iterator[Figure]:
    """Time of `quick` until the article's final accuracy, beside 100 epochs of the notebook's operations."""
    config = _on(article, "quick")
    torch.set_num_threads(choose_threads(config))
    begun = time.perf_counter()
    training = _begin(config, data, folder)
    reached, row = None, {"test_acc": 0.0}
    while training.epoch < config.epochs:
        row = training.next_epoch(Glance(training.run, lambda *_: None, training.group), lambda _: None)
        if reached is None and row["test_acc"] >= GOAL:
            reached = time.perf_counter() - begun
            say(f"quick: {row['test_acc']:.4f} after {reached:.2f} s, in epoch {row['epoch']}")
    whole = time.perf_counter() - begun
    torch.set_num_threads(1)
    an_epoch = next(reference_epochs(*data))[0]
    yield Figure("quick, test accuracy", row["test_acc"], "", note=f"{config.epochs} epochs in {whole:.1f} s")
    if reached is not None:
        yield Figure(f"quick, until {GOAL}", reached, "s", note="everything after the images are loaded")
        note = f"100 × {an_epoch:.2f} s, an epoch timed right after"
        yield Figure(f"the notebook's 100 epochs ÷ quick until {GOAL}", 100 * an_epoch / reached, "×", "≥ 70", note)


def _command(article: TrainConfig, say: Callable[[str], None]) -> Figure:
    """The whole process of `quick` from command to result, with its images in the cache."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "minivit", "train", "--preset", "quick", "--dataset", article.dataset]
        command += ["--data-dir", article.data_dir] if article.data_dir else []
        command += ["--classes", *article.classes, "--runs-dir", folder]
        seconds = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
    say(f"quick from command to result: {seconds:.1f} s")
    return Figure("quick, whole process", seconds, "s", "≤ 12", "from command to result, images cached")


def _on(article: TrainConfig, name: str) -> TrainConfig:
    chosen: dict[str, Any] = {field: getattr(article, field) for field in ("dataset", "data_dir", "classes", "device")}
    return preset(name).changed(**chosen)


def _begin(config: TrainConfig, data: tuple[ImageSet, ImageSet], folder: str) -> Training:
    training = Training(config, Run.create(config, folder), torch.device("cpu"), *data)
    training.untrained()
    return training


def _epoch(training: Training) -> float:
    glance = Glance(training.run, lambda *_: None, training.group)
    return _timed(lambda: training.next_epoch(glance, lambda _: None))


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
