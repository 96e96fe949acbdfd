"""A training that is killed at random points, and resumed each time, ends as one that was not.

python -m pytest tests/faults/test_kills.py                  one kill of each kind
python -m pytest tests/faults/test_kills.py --kills 240      the long version
"""

import json
import random
import time
from pathlib import Path

import pytest

from minivit.config import TrainConfig
from minivit.runs import Run
from tests.faults.killing import kill_once, log_of, start
from tests.forks import finish, warm_up

CLOCK = ("train_seconds", "eval_seconds", "images_per_second", "crc32")
KILLS_PER_RUN = 5
MAX_USES = 60  # of files of a run folder, in a training

KINDS: dict[str, dict[str, object]] = {
    "article": {},
    "moving average and mixup": {"ema": 0.9, "mixup": 0.2, "augment": "flip"},
    "muon and dropout": {"optimizer": "muon", "drop_rate": 0.2, "norm": "pre"},
    "streamed": {"dataset": "folder", "normalize": True},
    "class balance": {"class_balance": "sampling", "grad_clip": 1.0, "label_smoothing": 0.1},
    "two devices": {"devices": 2, "ema": 0.9},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_killed_and_resumed_ends_as_one_that_was_not(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tiny: TrainConfig, image_folder: Path, kind: str
) -> None:
    warm_up()
    num_kills = request.config.getoption("--kills") // len(KINDS)
    config = tiny.changed(**KINDS[kind], epochs=4, compile="off")
    if kind == "streamed":
        monkeypatch.setenv("MINIVIT_MEMORY", "0")
        config = config.changed(data_dir=str(image_folder))
    whole = Run.create(config)
    begun = time.monotonic()
    assert finish(start(whole))[0] == 0, log_of(whole)
    seconds = time.monotonic() - begun
    rng = random.Random(kind)
    kills = 0
    while kills < num_kills:
        run, done = Run.create(config), [f"kill {kills} of {kind}"]
        for _ in range(min(KILLS_PER_RUN, num_kills - kills)):
            rows = lines_of(run)
            what = kill_once(run, rng, seconds, MAX_USES)
            kills += bool(what)
            done.append(what)
            assert lines_of(run)[: len(rows)] == rows, done  # no finished row is lost or changed
        assert finish(start(run))[0] == 0, (done, log_of(run))
        assert run.state.phase == "done", (done, run.state)
        assert figures(run) == figures(whole), done  # each row is there once
        assert weights(run) == weights(whole), done  # byte for byte
        assert not list((run.path / "checkpoints").glob(".*")), done  # temporary files


def lines_of(run: Run) -> list[bytes]:
    """The complete lines of metrics.jsonl."""
    path = run.path / "metrics.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def figures(run: Run) -> list[dict[str, object]]:
    """The rows of metrics.jsonl as they stand in the file, without what the clock says."""
    rows = [json.loads(line) for line in lines_of(run)]
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()}
