"""A run as a notebook shows it."""

import re
from xml.etree import ElementTree

import pytest
from trainings import metrics_row, write

from minivit.config import TrainConfig
from minivit.runs import Run
from minivit.stats import wilson


def card(run: Run) -> tuple[ElementTree.Element, str]:
    """The card, which is well-formed, and its text in one line."""
    tree = ElementTree.fromstring(run._repr_html_())
    return tree, " ".join("".join(tree.itertext()).split())


def test_a_finished_run_shows_accuracy_with_its_interval_a_curve_and_the_settings_that_were_changed(run: Run) -> None:
    for epoch, accuracy in enumerate((0.25, 0.5, 0.75)):
        run.append_metrics(metrics_row(epoch, test_acc=accuracy))
    run.set_environment({"num_test": 40, "num_majority": 24})
    run.set_state("done", 2)
    low, high = wilson(30, 40)
    tree, text = card(run)
    assert "· done · epoch 2 of 3 Test accuracy 75.0% " in text
    assert f"(95% interval {low:.1%} to {high:.1%}); chance is 50%; most frequent class is 60%" in text
    assert "classes circle, star" in text and "epochs 3" in text and "patch_size 8" in text and "lr" not in text
    (curve,) = tree.iter("polyline")
    assert curve.get("points") == "0.0,45.0 120.0,30.0 240.0,15.0"
    assert repr(run) == f"<Run {run.path}: done, epoch 2 of 3, test accuracy 75.0%>"


@pytest.mark.parametrize(
    ("phase", "words"),
    [("queued", "Waiting for a worker."), ("training", "The worker stopped unexpectedly after epoch 0.")],
)
def test_a_run_without_metrics_shows_its_state_alone(run: Run, phase, words) -> None:
    run.set_state(phase, message="Waiting for a worker.")
    tree, text = card(run)
    assert words in text and "accuracy" not in text and not list(tree.iter("svg"))
    assert "accuracy" not in repr(run)


def test_unreadable_files_are_named(run: Run) -> None:
    for name in ("state.json", "metrics.jsonl", "environment.json"):
        write(run, name, '{"epoch"\n')
    _, text = card(run)
    for name in ("state.json cannot", "lines of metrics.jsonl", "environment.json cannot"):
        assert name in text
    assert "failed" in repr(run)


def test_markup_in_names_is_shown_as_text(tiny: TrainConfig) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror='a&b'>"
    run = Run.create(tiny.model_copy(update={"classes": ("circle", hostile)}))
    assert hostile in card(run)[1]
    run.rename(hostile)
    run.set_state("failed", message=hostile)
    assert card(run)[1].count(hostile) == 3
    assert not re.search(r"<(script|img)", run._repr_html_())
