"""A run's metrics in the programs that people already use: TensorBoard event files and MLflow.

Both are written from the run folder, so that nothing is lost if one of them fails, and a run can be tracked while it is
trained or long after. An epoch is written once, however often a run is tracked.
"""

import json
from abc import ABC, abstractmethod
from typing import Any

from minivit.errors import ConfigError
from minivit.files import explain_os_error
from minivit.runs import Run

TRACKED_METRICS = {  # metrics row -> name; TensorBoard draws names with the same beginning side by side
    "train_loss": "loss/train",
    "test_loss": "loss/test",
    "train_acc": "accuracy/train",
    "test_acc": "accuracy/test",
    "lr": "lr",
    "images_per_second": "images_per_second",
}

RUN_TAG = "minivit.run"
MLFLOW_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}  # of a phase; others are RUNNING


class Tracker(ABC):
    """Writes rows of one run; `last_epoch` is the last one that it has."""

    last_epoch: int

    def log(self, rows: list[dict[str, Any]]) -> int:
        """Writes the rows that are new, and returns how many."""
        new = [row for row in rows if row["epoch"] > self.last_epoch]
        for row in new:
            self.write(row["epoch"], {name: row[key] for key, name in TRACKED_METRICS.items() if row[key] is not None})
            self.last_epoch = row["epoch"]
        return len(new)

    @abstractmethod
    def write(self, epoch: int, metrics: dict[str, float]) -> None:
        """Writes the metrics of an epoch by their names; epoch 0 has no training metrics."""

    @abstractmethod
    def close(self) -> None:
        """Call this at the end."""


def parameters(run: Run) -> dict[str, Any]:
    """All settings of a run in one level."""
    config = run.config.model_dump(mode="json", exclude={"preprocessing"})
    return {**config.pop("model"), **config}


class TensorBoard(Tracker):
    """Event files in a folder, one folder per run, which `tensorboard --logdir` shows next to others."""

    def __init__(self, run: Run, log_dir: str) -> None:
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError("TensorBoard is not installed. Run `pip install tensorboard`, then try again.") from None
        folder = f"{log_dir}/{run.id}"
        with explain_os_error(ConfigError, f"{folder} cannot be written", "Choose another folder."):
            self.writer = SummaryWriter(folder)
        accumulator = EventAccumulator(folder, {"scalars": 0}).Reload()  # 0: all of them
        tags = accumulator.Tags()["scalars"]
        self.last_epoch = max((event.step for tag in tags for event in accumulator.Scalars(tag)), default=-1)
        if not tags:
            self.writer.add_text("settings", f"```json\n{json.dumps(parameters(run), indent=2)}\n```")

    def write(self, epoch: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class MLflow(Tracker):
    """A run of the experiment "MiniViT" at a tracking URI, found again by the run's id."""

    def __init__(self, run: Run, uri: str) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise ConfigError("MLflow is not installed. Run `pip install mlflow`, then try again.") from None
        self.run = run
        self.metric = Metric
        try:
            self.client = MlflowClient(uri)
            experiment = self.client.get_experiment_by_name("MiniViT")
            experiment_id = experiment.experiment_id if experiment else self.client.create_experiment("MiniViT")
            existing = self.client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run.id}'")
            if existing:
                self.run_id = existing[0].info.run_id
            else:
                created = self.client.create_run(experiment_id, run_name=run.name or run.id, tags={RUN_TAG: run.id})
                self.run_id = created.info.run_id
                settings = [Param(name, str(value)[:6000]) for name, value in parameters(run).items()]
                self.client.log_batch(self.run_id, params=settings)
            history = self.client.get_metric_history(self.run_id, TRACKED_METRICS["test_acc"])
        except (MlflowException, OSError) as error:
            reason = str(error).split(". ")[0]
            raise ConfigError(f"MLflow at {uri} cannot be written: {reason}.") from None
        self.last_epoch = max((metric.step for metric in history), default=-1)

    def write(self, epoch: int, metrics: dict[str, float]) -> None:
        values = [self.metric(name, value, 0, epoch) for name, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=values)

    def close(self) -> None:
        self.client.update_run(self.run_id, MLFLOW_STATUS.get(self.run.state.phase, "RUNNING"))
