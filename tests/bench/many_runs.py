"""What a folder of 1,000 runs costs every page, one run of it with 100,000 epochs."""

import os
import shutil
import statistics
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from minivit.bench import Measurement
from minivit.runs import Run, annotate
from tests.bench.dashboard import finished_run, open_page, serving, small, write_rows
from tests.browser.browsing import launched
from tests.browser.server import Server

NUM_RUNS = 1_000
NUM_TRIALS = 100  # of them, in sweeps of ten
NUM_EPOCHS = 100_000  # of the newest, which is limited by time
ROUNDS = 5


def measure() -> Iterator[Measurement]:
    """Every page on a warm server and in a browser that knows it, without runs and with all of them."""
    with TemporaryDirectory(prefix="minivit-bench-") as folder, launched() as browser:
        os.environ.update(MINIVIT_RUNS=f"{folder}/runs", MINIVIT_LOCKS=folder)
        run = finished_run()
        with serving(folder) as server:
            yield from measure_pages(server, browser, run, "1 run")
        long_run = add_runs(run)
        with serving(folder) as server:
            yield from measure_pages(server, browser, long_run, f"{NUM_RUNS:,} runs, one of {NUM_EPOCHS:,} epochs")


def measure_pages(server: Server, browser: Any, run: Run, note: str) -> Iterator[Measurement]:
    """Seconds until each page is complete, that of `run` where it shows one."""
    pages = {"Home": "", "Train": f"train?run={run.id}", "Runs": "runs"}
    pages |= {name.title(): f"{name}?run={run.id}" for name in ("predictions", "attention", "compare")}
    for name, address in pages.items():
        open_page(browser, f"{server.address}/{address}")  # computes
        seconds = [open_page(browser, f"{server.address}/{address}", warm=True) for _ in range(ROUNDS)]
        target = "≤ 1" if name in ("Home", "Train") else ""
        yield Measurement(f"{name}, server warm", statistics.median(seconds), "s", target, note)


def add_runs(run: Run) -> Run:
    """Copies of a trained run, as of former years, until there are `NUM_RUNS`; returns the newest, of many epochs."""
    root = run.path.parent
    for index in range(NUM_RUNS - 2):
        path = root / f"20{10 + index // 100}0101-{index:06}-{'-'.join(run.config.classes)}"
        shutil.copytree(run.path, path, copy_function=os.link)  # every write replaces a file
        copy = Run.open(path)
        copy.set_config(run.config.changed(seed=index, lr=1e-4 * (1 + index % 7), weight_decay=index % 3 / 10))
        if index < NUM_TRIALS:
            (path / "sweep.txt").write_text(f"20100101-000000-lr-{index // 10}", encoding="utf-8")
        elif index % 3 == 0:
            copy.rename(f"Run {index}")
            annotate(copy, tags=[f"tag{index % 5}"], favorite=index % 50 == 0)
    long_run = Run.create(small().changed(minutes=60))
    shutil.copytree(run.path / "checkpoints", long_run.path / "checkpoints", dirs_exist_ok=True)
    write_rows(long_run, NUM_EPOCHS + 1)
    long_run.set_state("done", NUM_EPOCHS, "Finished.")
    return long_run
