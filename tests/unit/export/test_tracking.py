"""TensorBoard's and MLflow's own readers get the metrics of a run, each epoch once."""

import pytest
from trainings import stop_after

from minivit.cli import main
from minivit.engine import SILENT, train
from minivit.export.tracking import TRACKED_METRICS
from minivit.runs import Run


@pytest.fixture
def interrupted(tiny) -> Run:
    """A run that was stopped after its first of three epochs."""
    run = Run.create(tiny)
    train(run.config, run, stop_after(1))
    return run


def written_values(run: Run, key: str) -> dict[int, float]:
    """A metric by epoch as the run folder has it."""
    return {row["epoch"]: row[key] for row in run.metrics() if row[key] is not None}


def test_tensorboard_reads_each_epoch_once_also_of_a_run_that_went_on(interrupted, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import

    command = ["track", str(interrupted.path), "--tensorboard", str(tmp_path)]
    assert main(command) == 0
    train(interrupted.config, interrupted, SILENT)
    assert main(command) == main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["TensorBoard: 2 new epochs"] * 2
    events = EventAccumulator(str(tmp_path / interrupted.id)).Reload()
    for key, name in TRACKED_METRICS.items():
        read = [(event.step, event.value) for event in events.Scalars(name)]
        written = written_values(interrupted, key).items()
        assert read == [(epoch, pytest.approx(value, 1e-6)) for epoch, value in written]
    assert b"embed_dim" in events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of MLflow's own queries
def test_mlflow_reads_each_epoch_once_with_the_settings_and_the_state(interrupted, tmp_path):
    from mlflow import MlflowClient  # slow to import

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = ["track", str(interrupted.path), "--mlflow", uri]
    client = MlflowClient(uri)

    def tracked():
        (run,) = client.search_runs([client.get_experiment_by_name("MiniViT").experiment_id])
        return run

    assert main(command) == 0
    assert tracked().info.status == "KILLED"
    train(interrupted.config, interrupted, SILENT)
    assert main(command) == main(command) == 0
    assert tracked().info.status == "FINISHED" and tracked().data.params["embed_dim"] == "16"
    for key, name in TRACKED_METRICS.items():
        read = {metric.step: metric.value for metric in client.get_metric_history(tracked().info.run_id, name)}
        assert read == written_values(interrupted, key)


def test_nowhere_to_write_to_is_refused_with_a_sentence(interrupted, tmp_path, capsys):
    assert main(["track", str(interrupted.path)]) == 2
    assert "Pass --tensorboard DIR or --mlflow URI" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    for option in (["--tensorboard", str(tmp_path / "file")], ["--mlflow", f"sqlite:///{tmp_path / 'file'}/x.db"]):
        assert main(["track", str(interrupted.path), *option]) == 2
        assert "cannot be written" in capsys.readouterr().err
