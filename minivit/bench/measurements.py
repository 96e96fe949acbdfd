"""Benchmarks: our training against the notebook's operations, several processes against one, and other load.

Compare the ratios: shared machines change their speed from minute to minute. Progress is printed.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from minivit.bench.reference import epochs as reference_epochs
from minivit.config import TrainConfig, preset
from minivit.data import load_split
from minivit.engine import Events, Training, train
from minivit.engine.compiler import Compiler
from minivit.engine.events import ignore
from minivit.errors import ConfigError, MiniViTError
from minivit.files import explain_os_error
from minivit.fused import FusedViT
from minivit.machine import choose_threads, environment, num_cores, pick_device
from minivit.model import MiniViT
from minivit.runs import Run, list_runs
from minivit.sweep import Sweep, SweepConfig, Vary, as_completed, start_workers

ARTICLE_ACCURACY = 0.6817  # after the article's 100 epochs
MATRIX_SIZE = 1024  # of the matrix product whose speed is taken as this machine's peak
EPOCHS = 3  # of `strong`, in one or more processes; the first warms up
TRIALS, TRIAL_EPOCHS = 4, 20  # of a sweep, enough to make the start of a worker negligible
LOAD_ROUNDS = 2


class Measurement(NamedTuple):
    """A measured value with its unit, its target, and how it was measured; NaN if there is none."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


class Part(NamedTuple):
    """A part of a benchmark, and the seconds that it may take."""

    name: str
    seconds: float
    measure: Callable[[], Iterator[Measurement]]

    def run(self) -> Iterator[Measurement]:
        """The measurements; a part that raises anything but a user's mistake has failed, with the message as note."""
        try:
            yield from self.measure()
        except MiniViTError:
            raise
        except Exception as error:  # of any kind: the other parts go on
            yield Measurement(self.name, math.nan, "", note=f"FAIL: {type(error).__name__}: {str(error).strip()[:300]}")


def training(images: dict[str, Any], num_rounds: int) -> Iterator[Measurement]:
    """One process: `images` are the settings of a data set; each of `num_rounds` trains one epoch of every variant."""
    article, quick = (preset(name).changed(**images, device="cpu") for name in ("article", "quick"))
    torch.set_num_threads(1)  # once: Inductor recompiles for another number
    train_set, test_set = load_split(article)
    eager, compiled = (
        Training(article.changed(compile=choice), torch.device("cpu"), train_set, test_set) for choice in ("off", "on")
    )
    reference = reference_epochs(train_set, test_set)
    print("Compiling the step …", flush=True)
    with Compiler(compiled.config, print) as compiler:
        compiler.advance(compiled.train_step, None)
        compile_seconds = timed(lambda: compiler.finish(compiled.train_step))
    variants: dict[str, Callable[[], float]] = {
        "the notebook's operations": lambda: next(reference)[0],
        "article": lambda: timed(lambda: _train_and_evaluate(eager)),
        "article compiled": lambda: timed(lambda: _train_and_evaluate(compiled)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(num_rounds):
        for name, run_epoch in variants.items():
            seconds[name].append(run_epoch())
            print(f"round {index + 1} of {num_rounds}: an epoch of {name}: {seconds[name][-1]:.2f} s", flush=True)
    note = f"median of {num_rounds} alternating rounds, one thread, evaluation included"
    for name, values in seconds.items():
        first = f"; compiled in {compile_seconds:.0f} s" if name == "article compiled" else ""
        yield Measurement(f"{name}, an epoch", median(values), "s", note=note + first)
    theirs = seconds["the notebook's operations"]
    for name, target in (("article", "≥ 9"), ("article compiled", "≥ 20")):
        ratio = median(ref / ours for ref, ours in zip(theirs, seconds[name], strict=True))
        yield Measurement(f"the notebook's operations ÷ {name}, per epoch", ratio, "×", target)
    yield from _against_peak(article, len(train_set) / median(seconds["article"]))
    yield from _quick(quick, lambda: next(reference)[0])
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "minivit", "train", "--preset", "quick", "--dataset", quick.dataset]
        command += ["--data-dir", quick.data_dir] if quick.data_dir else []
        command += ["--classes", *quick.classes, "--runs-dir", folder]
        seconds_in_all = timed(lambda: subprocess.run(command, check=True, capture_output=True))
    yield Measurement("quick, whole process", seconds_in_all, "s", "≤ 12", "from command to result, images cached")


def flop_per_image(config: TrainConfig) -> float:
    """Floating-point operations of matrix products and convolutions, forward and backward, without augmentation."""
    model = config.model
    images = torch.rand(64, model.in_chans, model.img_size, model.img_size)
    forward = FusedViT(MiniViT(model))
    with FlopCounterMode(display=False) as counter:
        forward(images).sum().backward()
    return counter.get_total_flops() / len(images)


def _against_peak(config: TrainConfig, images_per_second: float) -> Iterator[Measurement]:
    """Useful operations per second as a share of what a product of large matrices reaches on one thread."""
    flop = flop_per_image(config)
    peak = peak_speed(torch.device("cpu"), torch.float32, MATRIX_SIZE) / 1e9
    yield Measurement("matrix product, one thread", peak, "GFLOP/s", note=f"{MATRIX_SIZE} × {MATRIX_SIZE}, fp32")
    yield Measurement("article, images per second", images_per_second, "1/s")
    note = f"{flop / 1e3:,.0f} kFLOP per image, forward and backward"
    share = flop * images_per_second / 1e9 / peak
    yield Measurement("article, share of that peak", 100 * share, "%", note=note)


def _quick(config: TrainConfig, reference_epoch: Callable[[], float]) -> Iterator[Measurement]:
    """Time of `quick` until the article's final accuracy, against 100 epochs of the notebook's operations."""
    torch.set_num_threads(choose_threads(config))
    ends, rows = run_here(config)
    accuracies = [row["test_acc"] for row in rows]
    torch.set_num_threads(1)
    yield Measurement("quick, test accuracy", accuracies[-1], "", note=f"{config.epochs} epochs in {ends[-1]:.1f} s")
    goals = [end for end, accuracy in zip(ends, accuracies, strict=True) if accuracy >= ARTICLE_ACCURACY]
    if goals:
        yield Measurement(f"quick, until {ARTICLE_ACCURACY}", goals[0], "s", note="loading of cached images included")
        seconds = reference_epoch()
        name = f"the notebook's 100 epochs ÷ quick until {ARTICLE_ACCURACY}"
        note = "an epoch timed right after"
        yield Measurement(name, 100 * seconds / goals[0], "×", "≥ 70", f"100 × {seconds:.2f} s, {note}")


def together(images: dict[str, Any]) -> Iterator[Measurement]:
    """Images per second of one run in several processes, and of a sweep by several workers."""
    settings = {**images, "device": "cpu", "compile": "off"}
    strong = preset("strong").changed(**settings, images_per_class=1000, epochs=EPOCHS)
    variants = {
        "one process, one thread": strong.changed(threads=1),
        "one process, two threads": strong.changed(threads=2),
        "two processes, one thread each": strong.changed(threads=1, devices=2),
    }
    speeds: dict[str, float] = {}
    for name, config in variants.items():
        speeds[name] = worker_speed(config)
        yield Measurement(f"strong, {name}", speeds[name], "1/s", note=f"median of {EPOCHS - 1} epochs of 3,200 images")
    single, *others = speeds
    for name in others:
        yield Measurement(f"{name} ÷ one thread", speeds[name] / speeds[single], "×")
    article = preset("article").changed(**settings, epochs=TRIAL_EPOCHS)
    sweep_speeds = {workers: _sweep_speed(article, workers) for workers in (1, 2)}
    for workers, speed in sweep_speeds.items():
        yield Measurement(f"a sweep by {workers} one-thread workers", speed, "1/s", note=f"{TRIALS} trials of article")
    yield Measurement("two workers ÷ one", sweep_speeds[2] / sweep_speeds[1], "×", note="2 is the limit on two cores")


def worker_speed(config: TrainConfig) -> float:
    """Images per second of a run in its own process or processes, the median of its epochs after the first."""
    _, rows = run_as_process(config)
    return median(row["images_per_second"] for row in rows[2:])


def run_here(config: TrainConfig) -> tuple[list[float], list[dict[str, Any]]]:
    """Seconds until the end of each epoch of a run in this process, and its metrics."""
    start = time.perf_counter()
    ends = list[float]()
    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        train(config, run, Events(log=ignore, epoch_done=lambda _: ends.append(time.perf_counter() - start)))
        return ends, run.metrics()


def run_as_process(config: TrainConfig, timeout: float | None = None) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a run as a process of its own, imports included, and its metrics; RuntimeError if it fails."""
    with TemporaryDirectory() as folder:
        run = Run.create(config, folder)
        command = [sys.executable, "-m", "minivit.worker", str(run.path)]
        environment = {"MINIVIT_LOCKS": folder}
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ | environment)
        if done.returncode:
            raise RuntimeError(done.stdout[-300:])
        return time.perf_counter() - start, run.metrics()


def _sweep_speed(config: TrainConfig, workers: int) -> float:
    """Images per second of a sweep, from its first run to its last metrics row."""
    vary = (Vary(name="seed", values=tuple(range(TRIALS))),)
    sweep_config = SweepConfig(base=config, vary=vary, sampler="grid", pruning=False, workers=workers)
    with TemporaryDirectory() as folder:
        sweep = Sweep.create(sweep_config, folder)
        start_workers(sweep)
        list(as_completed(sweep))
        runs = list_runs(folder)
        start = min((run.path / "config.json").stat().st_mtime for run in runs)
        seconds = max((run.path / "metrics.jsonl").stat().st_mtime for run in runs) - start
        return sum(run.environment["num_train"] * TRIAL_EPOCHS for run in runs) / seconds


def under_load(images: dict[str, Any]) -> Iterator[Measurement]:
    """Images per second of `strong` without and with another process that keeps one core busy, alternately."""
    strong = preset("strong").changed(**images, device="cpu", compile="off", images_per_class=1000, epochs=EPOCHS)
    cores = num_cores()
    variants = {
        "threads as chosen": (strong, "≥ 0.45"),
        "one thread": (strong.changed(threads=1), ""),
        f"{cores} threads": (strong.changed(threads=cores), ""),
        f"{cores} processes": (strong.changed(threads=1, devices=cores), ""),
    }
    quiet: dict[str, list[float]] = {name: [] for name in variants}
    busy: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(LOAD_ROUNDS):
        for name, (config, _) in variants.items():
            quiet[name].append(worker_speed(config))
            with busy_process():
                busy[name].append(worker_speed(config))
    for name, (_, target) in variants.items():
        alone, next_to_load = median(quiet[name]), median(busy[name])
        note = f"{LOAD_ROUNDS} alternating rounds: {alone:,.0f} and {next_to_load:,.0f} images/s"
        yield Measurement(f"strong, {name}", alone, "1/s")
        yield Measurement(f"strong, {name}, next to a busy process ÷ alone", next_to_load / alone, "×", target, note)


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that computes all the time while the block runs, as of another user."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def train_epoch(training: Training, epoch: int = 1) -> None:
    """The steps of an epoch that are left, without commands and without the run folder."""
    training.model.train()
    for batch in training.batches(epoch):
        training.train_step(*batch)


def _train_and_evaluate(training: Training) -> None:
    train_epoch(training)
    training.metrics(1)


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_speed(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations per second of products of two matrices of size × size, the fastest of ten."""
    left, right = torch.rand(2, size, size, device=device, dtype=dtype)

    def product() -> None:
        left @ right
        synchronize(device)

    return 2 * size**3 / min(timed(product) for _ in range(10))


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as aligned text, one per line."""
    rows = [("name", "measured", "target", "note")]
    for name, value, unit, target, note in measurements:
        rows.append((name, "–" if math.isnan(value) else f"{value:,.4g} {unit}".strip(), target, note))
    name_width, value_width, target_width = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:3])
    return "\n".join(f"{a:<{name_width}}  {b:<{value_width}}  {c:<{target_width}}  {d}" for a, b, c, d in rows)


def write_json(measurements: Sequence[Measurement], path: Path) -> None:
    """Writes machine and measurements to a file; ConfigError if it cannot be written."""
    figures = [measurement._asdict() for measurement in measurements]
    for figure in figures:
        figure["value"] = None if math.isnan(figure["value"]) else figure["value"]  # JSON has no NaN
    content = {"machine": environment(pick_device("auto")) | {"cores": num_cores()}, "figures": figures}
    with explain_os_error(ConfigError, f"{path} cannot be written", "Choose another file."):
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
