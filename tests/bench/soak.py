"""A training that many watch for a long time: errors, waiting times, and the server's memory."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from minivit.bench import Measurement
from minivit.runs import Run
from minivit.worker import start_worker
from tests.bench.dashboard import NUM_VIEWERS, SECONDS, memory, serving, small
from tests.browser.server import ROOT, Server, until

WARM_UP = 1 / 4  # of the time
NUM_SAMPLES = 40  # of the memory
PAGES = {"train": NUM_VIEWERS * 4 // 5, "": NUM_VIEWERS // 5}  # viewers by page; Home lists the run


def measure(minutes: float) -> Iterator[Measurement]:
    """Viewers of a run that a worker trains on one thread; memory is compared after a quarter of the time."""
    with TemporaryDirectory(prefix="minivit-soak-") as folder:
        os.environ.update(MINIVIT_RUNS=f"{folder}/runs", MINIVIT_LOCKS=folder)
        run = Run.create(small().changed(images_per_class=2_000, minutes=10_000, threads=1))
        start_worker(run)
        try:
            until(lambda: run.state.phase == "training", "the training begins", SECONDS)
            with serving(folder) as server:
                for page in PAGES:  # the first pays for imports
                    start_viewers(server, page, run, 1, 1).communicate(timeout=SECONDS)
                viewers = [start_viewers(server, page, run, count, 60 * minutes) for page, count in PAGES.items()]
                samples = []
                for _ in range(NUM_SAMPLES):
                    time.sleep(60 * minutes / NUM_SAMPLES)
                    samples.append(memory(server) / 2**20)
                sessions = [each for process in viewers for each in json.loads(process.communicate(timeout=SECONDS)[0])]
                num_epochs = run.state.epoch
                log = Path(server.log).read_text(encoding="utf-8")
        finally:
            run.request("stop")
            until(lambda: not run.state.active, "the training stops")
    warm = samples[round(NUM_SAMPLES * WARM_UP) :]
    seconds = [each for session, _ in sessions for each in session[len(session) // 10 :]]
    note = f"{len(sessions)} sessions, {minutes:g} minutes, {num_epochs:,} epochs"
    num_errors = sum(errors for _, errors in sessions) + log.count("Traceback")
    yield Measurement("refreshes during a training", len(seconds), "", note=note)
    yield Measurement("errors shown or logged", num_errors, "", "0")
    yield Measurement("refresh, p95", 1000 * statistics.quantiles(seconds, n=20)[-1], "ms", "≤ 50")
    yield Measurement("refresh, slowest", 1000 * max(seconds), "ms")
    yield Measurement("memory of the server after warm-up", warm[0], "MiB")
    yield Measurement("memory at the end", warm[-1], "MiB", note=", ".join(f"{each:.0f}" for each in samples))
    yield Measurement("change of memory", 100 * (warm[-1] / warm[0] - 1), "%", "± 5")


def start_viewers(server: Server, page: str, run: Run, count: int, seconds: float) -> subprocess.Popen[bytes]:
    """A process with that many viewers of a page."""
    command = [sys.executable, "-m", "tests.bench.viewers", server.address, page, f"run={run.id}"]
    return subprocess.Popen([*command, str(count), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE)
