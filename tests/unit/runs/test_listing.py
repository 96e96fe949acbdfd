"""Runs are listed, grouped, opened, named and deleted."""

import shutil

import pytest
from trainings import keep, write

from minivit.config import TrainConfig
from minivit.errors import RunError
from minivit.runs import Run, find_run, group_by_sweep, list_runs


def test_runs_are_listed_newest_first_without_other_folders(run, tiny, tmp_path):
    root = run.path.parent
    newer = Run.create(tiny)
    (root / "empty").mkdir()
    (root / "file").write_text("")
    for name, text in {
        "broken": "{",
        "list": "[]",
        "future": '{"schema_version": 2}',
        "settings": '{"schema_version": 1, "epochs": 0}',
    }.items():
        (root / name).mkdir()
        (root / name / "config.json").write_text(text)
    (root / "directory" / "config.json").mkdir(parents=True)
    assert list_runs() == [newer, run]
    assert list_runs(tmp_path / "nowhere") == []


def test_trials_of_a_sweep_are_one_group_at_the_position_of_the_newest(run, tiny):
    runs = [run, *(Run.create(tiny, sweep=sweep) for sweep in ("b", "a", "", "a", "b"))]
    assert [run.sweep for run in runs] == ["", "b", "a", "", "a", "b"]
    groups = group_by_sweep(runs)
    assert groups == [[runs[0]], [runs[1], runs[5]], [runs[2], runs[4]], [runs[3]]]
    assert group_by_sweep([]) == []


def test_settings_of_many_runs_are_parsed_again_only_if_they_have_changed(
    run: Run, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [Run.create(tiny) for _ in range(3)]
    parsed = []
    validate = TrainConfig.model_validate
    monkeypatch.setattr(TrainConfig, "model_validate", lambda stored: parsed.append(1) or validate(stored))
    for _ in range(3):
        assert len(list_runs()) == 4
    assert len(parsed) == 4
    write(others[0], "config.json", (run.path / "config.json").read_text().replace('"seed": 0', '"seed": 17'))
    assert Run.open(others[0].path).config.seed == 17 and len(parsed) == 5
    run.rename("first")
    assert [run.name for run in list_runs()].count("first") == 1
    run.rename("again")
    assert [run.name for run in list_runs()].count("again") == 1
    others[1].path.rename(others[1].path.with_name("moved"))
    shutil.rmtree(others[2].path)
    assert {run.id for run in list_runs()} == {run.id, others[0].id, "moved"}
    with pytest.raises(RunError, match="There is no run"):
        Run.open(others[2].path)


def test_a_listed_run_is_found_by_its_folder_name_with_spaces_and_umlauts(run):
    renamed = run.path.rename(run.path.with_name("Mein Lauf (2) – Größe"))
    assert [run.id for run in list_runs()] == [renamed.name]
    assert find_run(renamed.name).path == renamed


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../runs",
        "{run}/",
        "{run}/checkpoints",
        "./{run}",
        "{run}/../{run}",
        "{root}/{run}",
        "{run}\0",
        "x" * 300,
        "x" * 5000,
        "nowhere",
        "outside",
        "ring",
        "sweeps",
        ".hidden",
    ],
)
def test_a_run_outside_the_runs_folder_is_not_found(run, tiny, tmp_path, name):
    root = run.path.parent
    outside = Run.create(tiny, tmp_path / "elsewhere").path.rename(tmp_path / "elsewhere" / "outside")
    (root / "outside").symlink_to(outside)
    (root / "ring").symlink_to(root / "ring")
    for hidden in ("sweeps", ".hidden"):
        shutil.copytree(outside, root / hidden)
    name = name.format(run=run.id, root=root)
    with pytest.raises(RunError) as error:
        find_run(name)
    assert repr(name) in str(error.value) and "choose another run" in str(error.value)
    assert list_runs() == [run]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no run"),
        ("{", "cannot be read"),
        ("[]", "version None"),
        ('{"schema_version": 2}', "version 2, but this MiniViT reads version 1"),
        ('{"schema_version": 1, "epochs": 0}', "Epochs (epochs) is 0"),
        ('{"schema_version": 1, "color": 1}', "'color'"),
        ('{"schema_version": 1, "classes": ["\\ud800", "b"]}', "not valid text"),
    ],
)
def test_invalid_settings_raise_an_error_with_the_folder(run, text, words):
    if text is None:
        (run.path / "config.json").unlink()
    else:
        write(run, "config.json", text)
    with pytest.raises(RunError) as error:
        Run.open(run.path)
    assert words in str(error.value) and str(run.path) in str(error.value)


def test_a_run_is_deleted_and_its_neighbor_stays(run, tiny):
    neighbor = Run.create(tiny)
    keep(run, 0)
    run.set_state("done")
    run.delete()
    assert not run.path.exists()
    assert list_runs() == [neighbor]


@pytest.mark.parametrize("phase", ["queued", "training", "paused", "done"])
def test_a_run_is_not_deleted_while_a_worker_is_alive(run, phase):
    keep(run, 0)
    with run.hold():
        run.set_state(phase)
        with pytest.raises(RunError, match=f"training the run {run.id}. Stop it"):
            run.delete()
    assert run.epochs() == [0] and find_run(run.id)


def test_a_run_is_not_deleted_while_its_worker_is_starting(run):
    with pytest.raises(RunError, match=run.id):
        run.delete()
    assert run.path.exists()


def test_a_name_is_displayed_without_moving_the_folder_and_can_be_removed(run):
    assert run.name == ""
    run.rename("  Größe 3 <b>\nnext\x00 ")
    assert run.name == "Größe 3 <b>next" and find_run(run.id).name == run.name
    run.rename("x" * 500)
    assert run.name == "x" * 80
    (run.path / "name.txt").write_bytes(b"\xff\xfe")
    assert isinstance(run.name, str)
    run.rename("")
    assert run.name == ""
