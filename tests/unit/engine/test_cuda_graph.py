"""Recorded steps, with a recorder for the CPU: they are the plain steps, and a failure costs nothing."""

import pytest
import torch

from minivit.data import load_split
from minivit.engine import Training, step_graph

CPU = torch.device("cpu")


def steps(config, report=None):
    """The step after an epoch, recorded if there is a `report`."""
    training = Training(config, CPU, *load_split(config))
    training.model.train()
    if report:
        training.train_step.record(report)
    for batch in training.batches(1):
        training.train_step(*batch)
    return training.train_step


@pytest.mark.parametrize("fails", [False, True], ids=["recorded", "failed"])
def test_a_recorded_epoch_is_the_plain_one_also_with_a_smaller_last_batch_and_dropout(tiny, monkeypatch, fails):
    config = tiny.changed(batch_size=36, drop_rate=0.2, ema=0.9, optimizer="muon", cutmix=1.0)  # 96 images
    calls = []

    def record(function):
        for _ in range(3):
            function()
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        return lambda: calls.append(function())

    plain, log = steps(config), []
    monkeypatch.setattr(step_graph, "record_cuda_graph", record)
    recorded = steps(config, log.append)
    assert len(calls) == (0 if fails else 2)
    assert log == ["operation not permitted when stream is capturing" if fails else None]
    assert torch.equal(plain.flat.values, recorded.flat.values) and torch.equal(plain.sums, recorded.sums)
    assert torch.equal(plain.ema, recorded.ema)
