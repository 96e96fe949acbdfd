"""A training that fails because nothing more can be written, and is resumed later, ends as one that did not fail.

A limit of the operating system for the size of files stands in for a full disk. The long version fills a real one:

mount -t tmpfs -o size=1m none DIR
python -m pytest tests/faults/test_full_disk.py --full-disks 40 --disk DIR
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from minivit.config import TrainConfig
from minivit.runs import Run
from tests.faults.killing import log_of, start
from tests.faults.test_kills import figures, weights
from tests.forks import finish

MAX_BYTES = 300_000  # of the run folder of such a training


def test_a_training_whose_disk_was_full_ends_as_one_whose_was_not(
    request: pytest.FixtureRequest, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = tiny.changed(epochs=4, ema=0.9, compile="off")
    whole = Run.create(config)
    assert finish(start(whole)) == [0]
    largest = (whole.path / "resume.safetensors").stat().st_size
    disk = request.config.getoption("--disk")
    failures = 0
    for seed in range(request.config.getoption("--full-disks")):
        rng = random.Random(seed)
        run = Run.create(config, disk or tmp_path / "runs")
        if disk:
            filler = Path(disk) / "filler"
            with filler.open("wb") as file:
                os.posix_fallocate(
                    file.fileno(), 0, shutil.disk_usage(disk).free - rng.randrange(MAX_BYTES) // 4096 * 4096
                )
            codes = finish(start(run))
            filler.unlink()
        else:
            codes = finish(start(run, max_bytes=rng.randrange(1, largest)))
        failures += codes != [0]
        assert codes in ([0], [2]) and "Traceback" not in log_of(run), (seed, codes, log_of(run))
        assert run.state.phase in ("failed", "done"), (seed, run.state)
        assert finish(start(run)) == [0], (seed, log_of(run))
        assert figures(run) == figures(whole) and weights(run) == weights(whole), seed
        shutil.rmtree(run.path)
        Path(f"{run.path}.log").unlink()
    assert failures > 0
