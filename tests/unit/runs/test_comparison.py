"""Runs side by side: what differs, short names, curves by another quantity, exports, and metrics at a glance."""

import csv
import io
import json
import os

import pytest

from minivit.config import TrainConfig
from minivit.runs import Run, State, annotate, summarize
from minivit.runs.comparison import curve, curves_to_csv, different_settings, short_names, to_csv, to_json
from minivit.runs.files import append_line
from minivit.runs.summary import share_done

ROW = {"test_loss": 1.5, "lr": 0.1, "eval_seconds": 1.0}


def row(epoch: int, accuracy: float) -> dict:
    trained = {"train_loss": 1.0, "train_acc": 0.5, "train_seconds": 2.0, "images_per_second": 50.0}
    return {**ROW, "epoch": epoch, "test_acc": accuracy, **(trained if epoch else dict.fromkeys(trained))}


@pytest.fixture
def runs(tiny: TrainConfig) -> list[Run]:
    """Three runs that differ in learning rate and seed, and one like the third; the first has metrics."""
    changes = ({"lr": 0.1}, {"lr": 0.01}, {"lr": 0.01, "seed": 7}, {"lr": 0.01, "seed": 7})
    runs = [Run.create(tiny.changed(**change)) for change in changes]
    for epoch, accuracy in enumerate((0.25, 0.75, 0.5)):
        runs[0].append_metrics(row(epoch, accuracy))
    return runs


def test_runs_are_named_by_the_fewest_settings_that_tell_them_apart(runs: list[Run]) -> None:
    assert [setting.name for setting in different_settings([run.config for run in runs])] == ["lr", "seed"]
    assert list(short_names(runs[:2]).values()) == ["lr 0.1", "lr 0.01"]  # the seed tells nothing more
    assert list(short_names(runs).values()) == [
        "lr 0.1 · seed 0",
        "lr 0.01 · seed 0",
        "lr 0.01 · seed 7",
        "lr 0.01 · seed 7 (2)",
    ]
    runs[1].rename("control")
    assert list(short_names(runs[:2]).values()) == ["lr 0.1", "control"]
    assert list(short_names(runs[2:]).values()) == ["circle, star", "circle, star (2)"]


def test_of_a_run_by_minutes_the_time_that_its_epochs_took_is_done(tiny: TrainConfig, runs: list[Run]) -> None:
    run, rows = Run.create(tiny.changed(minutes=0.5)), runs[0].metrics()  # two epochs of 2 s and 1 s of evaluation
    assert share_done(run, State(phase="training", epoch=2, progress=0.5), rows) == (2 * 3 + 3 / 2) / 30
    assert share_done(run, State(phase="training"), []) == 0
    assert share_done(run, State(phase="done"), rows) == 1


def test_a_curve_is_drawn_by_epoch_by_seconds_or_by_images_seen(runs: list[Run]) -> None:
    rows = runs[0].metrics()
    assert curve(rows, "train_loss") == ([0, 1, 2], [None, 1.0, 1.0])
    assert curve(rows, "test_acc", "time") == ([0, 2.0, 4.0], [0.25, 0.75, 0.5])
    assert curve(rows, "test_acc", "images").x == [0, 100.0, 200.0]


def test_an_export_has_scores_and_settings_first_those_that_differ(runs: list[Run]) -> None:
    annotate(runs[0], tags=["a", "b"], note="=1+1")
    (first, second, *_) = csv.DictReader(io.StringIO(to_csv(runs)))
    assert (first["id"], first["test_acc"], first["best_acc"], first["tags"]) == (
        runs[0].id,
        "0.5",
        "0.75",
        '["a", "b"]',
    )
    assert first["note"] == "'=1+1" and second["test_acc"] == ""  # a spreadsheet would compute the note
    assert list(first).index("lr") < list(first).index("seed") < list(first).index("dataset")
    assert json.loads(first["classes"]) == ["circle", "star"]
    by_epoch = list(csv.DictReader(io.StringIO(curves_to_csv(runs))))
    assert [(line["run"], line["epoch"], line["test_acc"]) for line in by_epoch] == [
        (runs[0].id, str(epoch), str(accuracy)) for epoch, accuracy in enumerate((0.25, 0.75, 0.5))
    ]
    first, second, *_ = json.loads(to_json(runs, with_rows=True))
    assert first["rows"] == runs[0].metrics() and second["rows"] == [] and second["metrics"] is None
    assert (first["tags"], first["note"], first["config"]["lr"]) == (["a", "b"], "=1+1", 0.1)
    assert to_csv([]) == curves_to_csv([]) == ""


def test_metrics_at_a_glance_are_read_again_only_if_the_file_has_changed(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    metrics = Run.metrics
    monkeypatch.setattr(Run, "metrics", lambda run: reads.append(run) or metrics(run))
    for _ in range(3):
        first, *others = [summarize(run) for run in runs]
    assert (first.test_acc, first.best_acc, first.accuracies) == (0.5, 0.75, (0.25, 0.75, 0.5))
    assert {other.test_acc for other in others} == {None} and reads == [runs[0]]
    for epoch in range(3, 1000):
        runs[0].append_metrics(row(epoch, 0.5))
    append_line(runs[0].path / "metrics.jsonl", "{")
    summary = summarize(runs[0])
    assert (summary.last["epoch"], len(summary.accuracies), summary.num_invalid) == (999, 200, 1)
    os.truncate(runs[0].path / "metrics.jsonl", 0)
    assert summarize(runs[0]).test_acc is None
