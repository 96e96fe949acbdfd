"""Trainings of tiny models on real drawn images, and what is the same in two of them."""

import math
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from minivit.config import TrainConfig
from minivit.engine import SILENT, Events, Interrupted, train
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.runs.schema import MetricsRow

CLOCK = ("train_seconds", "eval_seconds", "images_per_second")  # what no two runs have in common


def quiet(*_: object) -> None:
    pass


def trained(config: TrainConfig) -> Run:
    run = Run.create(config)
    train(config, run, SILENT)
    return run


def stop_after(epoch: int) -> Events:
    """Events that end a run that is too long to reach its end, at an epoch that the test knows."""

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise Interrupted("stop")

    return Events(log=quiet, epoch_done=stop)


def weights(run: Run, epoch: int) -> dict[str, Tensor]:
    return load_file(run.path / "checkpoints" / f"epoch-{epoch:04}.safetensors")


def figures(run: Run) -> list[dict[str, Any]]:
    """The metrics without what the clock says."""
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in run.metrics()]


def assert_same(run: Run, other: Run) -> None:
    """Bit for bit."""
    assert figures(run) == figures(other)
    assert run.epochs() == other.epochs()
    for epoch in run.epochs():
        mine, theirs = weights(run, epoch), weights(other, epoch)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert torch.equal(value, theirs[name]), (epoch, name)


def loss_by_hand(model: MiniViT, images: Tensor, labels: Tensor) -> float:
    """Mean of -ln p(true class), image by image in float64."""
    model = model.double().eval()
    losses = []
    for image, label in zip(images, labels.tolist(), strict=True):
        scores = model(image[None].double() / 255)[0].tolist()
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[label])
    return math.fsum(losses) / len(losses)


def keep(run: Run, *epochs: int) -> None:
    """Checkpoints of a fresh model at these epochs."""
    for epoch in epochs:
        run.save_checkpoint(MiniViT(run.config.model), epoch)


def write(run: Run, name: str, text: str) -> None:
    """A file of the run's folder, as somebody left it."""
    (run.path / name).write_text(text)


def metrics_row(epoch: Any, **values: Any) -> dict[str, Any]:
    """A row of metrics.jsonl."""
    return {**dict.fromkeys(MetricsRow.__annotations__, 0.25), "epoch": epoch, **values}
