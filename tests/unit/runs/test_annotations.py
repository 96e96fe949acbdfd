"""Tags, a note and favorites in a run's folder, and the search for them, for scores and for settings."""

import json
import shutil

import pytest
from trainings import write

from minivit.config import TrainConfig
from minivit.errors import ConfigError, RunError
from minivit.runs import EXAMPLE, Run, annotate, find_damage, list_runs, read_annotations, search
from minivit.runs.schema import Annotations


def test_tags_a_note_and_a_favorite_are_saved_one_without_the_others(run: Run) -> None:
    assert read_annotations(run) == Annotations()
    annotate(run, tags=[" base line ", "#sweep", "sweep", "", "a\x00b" + "x" * 90])
    annotate(run, note=" too *high*\nrate ")
    annotate(run, favorite=True)
    tags = ("base-line", "sweep", "a-b" + "x" * 37)
    assert read_annotations(Run.open(run.path)) == Annotations(tags, "too *high*\nrate", True)
    annotate(run, tags=[str(number) for number in range(50)], favorite=False)
    assert read_annotations(run).tags == tuple(str(number) for number in range(20))


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ("{", Annotations()),
        ("[]", Annotations()),
        ('{"tags": "x", "note": "kept"}', Annotations(note="kept")),
        ('{"tags": ["a b"], "favorite": true}', Annotations(favorite=True)),
        ('{"tags": ["a"], "favorite": 2}', Annotations(("a",))),
        (json.dumps({"note": "x" * 10_001, "tags": ["a"]}), Annotations(("a",))),
    ],
)
def test_an_invalid_annotation_is_left_out_named_and_not_overwritten(run: Run, content, valid) -> None:
    write(run, "annotations.json", content)
    assert read_annotations(run) == valid
    assert find_damage(run) == ["annotations.json cannot be read."]
    with pytest.raises(RunError, match=r"annotations\.json has invalid content, which would be lost"):
        annotate(run, favorite=True)
    assert (run.path / "annotations.json").read_text() == content


def test_the_example_run_is_read_only() -> None:
    with pytest.raises(RunError, match="is read-only"):
        annotate(Run.open(EXAMPLE), favorite=True)


@pytest.fixture
def runs(run: Run, tiny: TrainConfig) -> list[Run]:
    """Three runs: 0.5 accurate and tagged, 0.8 and a favorite, and one that waits for its worker."""
    accurate = Run.create(tiny.changed(lr=0.01, seed=1, whiten=True, optimizer="adamw"))
    row = {"train_loss": None, "train_acc": None, "train_seconds": None, "images_per_second": None}
    for index, (each, accuracy) in enumerate(((run, 0.5), (accurate, 0.8))):
        each.append_metrics({**row, "epoch": 0, "test_loss": 1.0, "test_acc": 0.9, "lr": 0.1, "eval_seconds": 1.0})
        each.append_metrics({**row, "epoch": 1, "test_loss": 0.5, "test_acc": accuracy, "lr": 0.1, "eval_seconds": 1.0})
        each.set_state("done", index)
    annotate(run, tags=["Baseline"], note="the Quiet one")
    annotate(accurate, tags=["baseline-2"], favorite=True)
    return [run, accurate, Run.create(tiny.changed(classes=("ring", "heart")))]


@pytest.mark.parametrize(
    ("query", "indices"),
    [
        ("", [0, 1, 2]),
        ("#baseline", [0]),
        ("TAG:Baseline", [0]),
        ("is:favorite", [1]),
        ("quiet", [0]),
        ("queued", [2]),
        ("done circle", [0, 1]),
        ("accuracy>0.5", [1]),
        ("accuracy>=50%", [0, 1]),
        ("accuracy<0.6 done", [0]),
        ("best=0.9 loss<=0.5", [0, 1]),
        ("epoch=1", [1]),
        ("lr=1e-2", [1]),
        ("lr!=0.01", [0, 2]),
        ("seed<1", [0, 2]),
        ("whiten=true", [1]),
        ("optimizer=AdamW", [1]),
        ("classes=ring", [2]),
        ("data_dir=", [0, 1, 2]),
        ("optimizer>1", []),
    ],
)
def test_a_search_lists_the_runs_that_match_every_word(runs: list[Run], query: str, indices: list[int]) -> None:
    assert search(runs, query) == [runs[index] for index in indices]


def test_a_search_for_a_day_lists_the_runs_that_were_created_then(run: Run) -> None:
    other, that_day = (
        shutil.copytree(run.path, run.path.with_name(f"{at}-a")) for at in ("20201112-102929", "20201129-101112")
    )
    assert search(list_runs(), "29 Nov done") == []
    assert search(list_runs(), "star 29 Nov 10:11") == [Run.open(that_day)]
    assert search(list_runs(), "12 nov 10:29:29") == [Run.open(other)]
    assert search(list_runs(), "9 nov") == search(list_runs(), "2 nov") == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("accurcy>0.7", "'accurcy' is not a score"),
        ("lr>fast", "'fast' is not a number"),
        ("is:done", "Write is:favorite"),
        ("tag:", "names no tag"),
        ("#", "names no tag"),
    ],
)
def test_a_word_that_can_match_nothing_is_an_error(runs: list[Run], query: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        search(runs, query)


def test_annotations_move_with_the_folder_and_its_copy(run: Run) -> None:
    annotate(run, tags=["moved"])
    copy = shutil.copytree(run.path, run.path.with_name("copy"))
    assert read_annotations(Run.open(copy)).tags == ("moved",)
