"""A runs folder of an earlier version, with one trial of a sweep, in `earlier_version.zip`."""

import io
import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from minivit.engine import train
from minivit.inference import predict_run
from minivit.runs import Run, default_runs_dir, list_runs
from minivit.runs.archive import pack, unpack
from minivit.sweep import find_sweep


@pytest.fixture
def earlier_run() -> Run:
    with ZipFile(Path(__file__).with_name("earlier_version.zip")) as archive:
        archive.extractall(default_runs_dir())
    (run,) = list_runs()
    return run


def test_a_run_of_an_earlier_version_opens_with_its_metrics_and_weights(earlier_run):
    run = earlier_run
    assert (run.name, run.sweep, run.state.phase, run.state.epoch) == ("before", "seeds", "done", 2)
    assert [str(checkpoint) for checkpoint in run.checkpoints()] == ["0", "0.1", "1", "2"]
    assert [row["test_acc"] for row in run.metrics()] == [0.375] * 3
    weights = run.load_model().head.weight.flatten()[:4]
    torch.testing.assert_close(weights, torch.tensor([0.1744, 0.3028, -0.0435, -0.1813]), atol=1e-4, rtol=0)
    assert predict_run(run).accuracy == 0.375


def test_a_run_of_an_earlier_version_continues_and_is_exported(earlier_run):
    path = earlier_run.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 3}))
    run = Run.open(earlier_run.path)
    train(run.config, run)
    assert run.state.phase == "done" and run.epochs() == [0, 1, 2, 3]
    assert unpack(io.BytesIO(pack(run))).metrics() == run.metrics()


def test_a_sweep_of_an_earlier_version_opens_with_its_trials(earlier_run):
    sweep = find_sweep("seeds")
    first, second = sweep.trials()
    assert (first.phase, first.params, first.accuracy) == ("done", {"seed": 0}, 0.375)
    assert sweep.run_of(first) == earlier_run and sweep.run_of(second) is None
    assert not sweep.active
