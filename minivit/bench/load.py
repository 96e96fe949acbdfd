"""Training next to other load: `strong` while another process keeps one core busy, against the same without it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from minivit.bench.measurements import EPOCHS, Measurement, worker_speed
from minivit.config import preset
from minivit.machine import num_cores

ROUNDS = 2
AS_CHOSEN = "threads as chosen"
TARGET = "≥ 0.45"  # of the speed without load


def under_load(images: dict[str, Any]) -> Iterator[Measurement]:
    """Images per second of `strong` without and with load, alternately; `images` are the settings of a data set."""
    strong = preset("strong").changed(**images, device="cpu", compile="off", images_per_class=1000, epochs=EPOCHS)
    cores = num_cores()
    variants = {
        AS_CHOSEN: strong,
        "one thread": strong.changed(threads=1),
        f"{cores} threads": strong.changed(threads=cores),
        f"{cores} processes": strong.changed(threads=1, devices=cores),
    }
    speeds: dict[tuple[str, bool], list[float]] = {}
    for _ in range(ROUNDS):
        for name, config in variants.items():
            speeds.setdefault((name, False), []).append(worker_speed(config))
            with busy_process():
                speeds.setdefault((name, True), []).append(worker_speed(config))
    for name in variants:
        quiet, busy = (median(speeds[name, is_busy]) for is_busy in (False, True))
        note = f"{ROUNDS} alternating rounds: {quiet:,.0f} and {busy:,.0f} images/s"
        yield Measurement(f"strong, {name}", quiet, "1/s")
        target = TARGET if name == AS_CHOSEN else ""
        yield Measurement(f"strong, {name}, next to a busy process ÷ alone", busy / quiet, "×", target, note)


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that computes all the time while the block runs, as of another user."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
