"""What a run says of itself, what is requested of it, how it is found and deleted, and who holds it."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from safetensors.torch import load_file
from trainings import keep, write

from minivit.config import TrainConfig
from minivit.errors import RunError
from minivit.runs import Run, find_run, group_by_sweep, list_runs
from minivit.runs import run as runs
from minivit.runs.files import read_json

# State


def test_a_run_that_says_training_without_a_living_worker_shows_as_failed_and_names_the_epoch(run):
    for phase in ("loading", "training"):
        run.set_state(phase, 5)
        assert run.state.phase == "failed" and not run.state.active
        assert "after epoch 5" in run.state.message and "Resume" in run.state.message
        assert run.state.epoch == 5


def test_a_run_that_trains_under_a_living_worker_does_not_show_as_failed(run):
    run.set_state("training", 5)
    with run.hold():
        assert run.state.phase == "training"
    assert run.state.phase == "failed"


def test_a_queued_run_has_time_to_start_and_then_shows_as_failed(run, monkeypatch):
    assert run.state.phase == "queued"
    later = time.time() + runs.STARTUP_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert run.state.phase == "failed"


def test_ended_phases_need_no_worker(run):
    for phase in ("paused", "stopped", "failed", "done"):
        run.set_state(phase, 2, "said")
        assert (run.state.phase, run.state.message, run.state.active) == (phase, "said", False)


GARBAGE = [
    "", "{", "[]", "7", "null", "{}", '{"phase": "dancing"}', '{"phase": ["done"]}',
    '{"phase": "queued", "updated": "x"}', '{"phase": "done", "epoch": null}', '{"phase": "done", "epoch": Infinity}',
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
def test_a_state_that_makes_no_sense_shows_as_failed(run, text):
    write(run, "state.json", text)
    assert run.state.phase == "failed" and "state.json" in run.state.message
    assert not run.state.active


def test_bytes_that_are_no_text_show_as_failed(run):
    (run.path / "state.json").write_bytes(b"\xff\xfe\x00")
    assert run.state.phase == "failed"


def test_looking_at_a_state_changes_nothing_in_it(run):
    run.set_state("training", 1)
    before = (run.path / "state.json").read_bytes()
    assert run.state.phase == "failed"
    assert (run.path / "state.json").read_bytes() == before


def test_readers_never_see_half_a_state_however_many_write(run):
    failures: list[object] = []
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            if read_json(run.path / "state.json").get("phase") != "done":
                failures.append("half a state")

    def write_on(number: int) -> None:
        try:
            for epoch in range(100):
                run.set_state("done", epoch, "x" * 1000 * number)
        except RunError as error:
            failures.append(error)

    run.set_state("done")
    reader = threading.Thread(target=read_on)
    writers = [threading.Thread(target=write_on, args=(number,)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not failures
    assert not [path.name for path in run.path.iterdir() if path.name.startswith(".")]


def test_a_folder_that_is_gone_is_told_by_name_when_something_is_to_be_written(run):
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match=f"{run.path}/control.json cannot be written"):
        run.request("stop")
    assert not run.path.exists()


# Commands


def test_the_last_command_counts(run):
    assert run.requested_command() is None
    run.request("pause")
    run.request("stop")
    assert run.requested_command() == "stop"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"command": "dance"}', '{"command": ["stop"]}', '{"command": null}']
)
def test_an_unknown_command_is_ignored(run, text):
    write(run, "control.json", text)
    assert run.requested_command() is None


# Finding, opening and deleting


def test_runs_are_listed_newest_first_without_what_is_no_run(run, tiny, tmp_path):
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
    assert [one.id for one in list_runs()] == [newer.id, run.id]
    assert list_runs(tmp_path / "nowhere") == []


def test_trials_of_a_sweep_fold_into_one_line_where_the_newest_stands(run, tiny):
    made = [run, *(Run.create(tiny, sweep=sweep) for sweep in ("b", "a", "", "a", "b"))]
    assert [one.sweep for one in made] == ["", "b", "a", "", "a", "b"]
    lines = group_by_sweep(made)
    assert [[one.id for one in line] for line in lines] == [
        [made[number].id for number in numbers] for numbers in ([0], [1, 5], [2, 4], [3])
    ]
    assert group_by_sweep([]) == []


def test_settings_of_many_runs_are_read_once_and_again_only_where_they_changed(
    run: Run, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [Run.create(tiny) for _ in range(3)]
    read = []
    validate = TrainConfig.model_validate
    monkeypatch.setattr(TrainConfig, "model_validate", lambda stored: read.append(1) or validate(stored))
    for _ in range(3):
        assert len(list_runs()) == 4
    assert len(read) == 4
    write(others[0], "config.json", (run.path / "config.json").read_text().replace('"seed": 0', '"seed": 17'))
    assert Run.open(others[0].path).config.seed == 17 and len(read) == 5
    run.rename("first")
    assert [one.name for one in list_runs()].count("first") == 1
    run.rename("again")
    assert [one.name for one in list_runs()].count("again") == 1
    others[1].path.rename(others[1].path.with_name("moved"))
    shutil.rmtree(others[2].path)
    assert {one.id for one in list_runs()} == {run.id, others[0].id, "moved"}
    with pytest.raises(RunError, match="There is no run"):
        Run.open(others[2].path)


def test_every_listed_run_can_be_found_by_its_name_whatever_its_name_is(run):
    renamed = run.path.rename(run.path.with_name("Mein Lauf (2) – Größe"))
    assert [one.id for one in list_runs()] == [renamed.name]
    assert find_run(renamed.name).path == renamed


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../runs", "{run}/", "{run}/checkpoints", "./{run}", "{run}/../{run}", "{root}/{run}", "{run}\0",
     "x" * 300, "x" * 5000, "nowhere", "outside", "ring"],
)  # fmt: skip
def test_a_name_leads_nowhere_but_into_the_runs_folder(run, tiny, tmp_path, name):
    root = run.path.parent
    outside = Run.create(tiny, tmp_path / "elsewhere").path.rename(tmp_path / "elsewhere" / "outside")
    (root / "outside").symlink_to(outside)
    (root / "ring").symlink_to(root / "ring")
    name = name.format(run=run.id, root=root)
    with pytest.raises(RunError) as refused:
        find_run(name)
    assert repr(name) in str(refused.value) and "choose another run" in str(refused.value)
    assert "outside" not in [one.id for one in list_runs()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no run"),
        ("{", "cannot be read"),
        ("[]", "version None"),
        ('{"schema_version": 2}', "version 2, and this MiniViT reads version 1"),
        ('{"schema_version": 1, "epochs": 0}', "Epochs (epochs) is 0"),
        ('{"schema_version": 1, "colour": 1}', "'colour'"),
    ],
)
def test_a_folder_whose_settings_cannot_be_read_is_refused_by_path(run, text, words):
    if text is None:
        (run.path / "config.json").unlink()
    else:
        write(run, "config.json", text)
    with pytest.raises(RunError) as refused:
        Run.open(run.path)
    assert words in str(refused.value) and str(run.path) in str(refused.value)


def test_a_run_is_deleted_whole_and_its_neighbour_stays(run, tiny):
    neighbour = Run.create(tiny)
    keep(run, 0)
    run.set_state("done")
    run.delete()
    assert not run.path.exists()
    assert [one.id for one in list_runs()] == [neighbour.id]


@pytest.mark.parametrize("phase", ["queued", "training", "paused", "done"])
def test_a_run_is_not_deleted_while_a_worker_is_alive(run, phase):
    keep(run, 0)
    with run.hold():
        run.set_state(phase)
        with pytest.raises(RunError, match=f"busy with the run {run.id}. Stop it"):
            run.delete()
    assert run.epochs() == [0] and find_run(run.id)


def test_a_run_is_not_deleted_while_its_worker_is_starting(run):
    with pytest.raises(RunError, match=run.id):
        run.delete()
    assert run.path.exists()


def test_a_name_is_shown_without_moving_the_folder_and_can_be_taken_away(run):
    assert run.name == ""
    run.rename("  Größe 3 <b>\nnext\x00 ")
    assert run.name == "Größe 3 <b>next" and find_run(run.id).name == run.name
    run.rename("x" * 500)
    assert run.name == "x" * 80
    (run.path / "name.txt").write_bytes(b"\xff\xfe")
    assert isinstance(run.name, str)
    run.rename("")
    assert run.name == ""


# The lock


def test_only_one_worker_holds_a_run(run, monkeypatch):
    monkeypatch.setattr(runs, "HOLD_SECONDS", 0.1)
    assert not run.is_worker_alive()
    with run.hold():
        assert run.is_worker_alive()
        with pytest.raises(RunError, match=f"Another worker is busy with the run {run.id}"), Run.open(run.path).hold():
            raise AssertionError("two workers hold one run")
        assert run.is_worker_alive()
    assert not run.is_worker_alive()


def test_a_reader_that_tests_the_lock_does_not_keep_a_worker_out(run):
    reader = FileLock(run.path / "worker.lock", thread_local=False)
    reader.acquire()
    threading.Timer(0.2, reader.release).start()
    with run.hold():
        assert run.is_worker_alive()


def test_a_lock_file_left_by_a_dead_worker_holds_nothing(run):
    write(run, "worker.lock", str(os.getpid()))
    assert not run.is_worker_alive()
    with run.hold():
        pass


def test_checkpoints_carry_timms_names_and_nothing_that_runs_code(run):
    keep(run, 0)
    path = run.path / "checkpoints" / "epoch-0000.safetensors"
    names = set(load_file(path))
    assert {
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "blocks.0.attn.qkv.weight",
        "head.bias",
        "mean",
    } <= names
    assert not {file.suffix for file in Path(run.path).rglob("*") if file.is_file()} - {
        ".json",
        ".safetensors",
        ".lock",
    }


def test_a_worker_tidies_up_what_a_killed_one_left_and_nothing_that_may_be_under_way(tiny):
    run = Run.create(tiny)
    left = [run.path / "checkpoints" / ".epoch-0001.safetensors.12-34", run.path / ".resume.safetensors.12-34"]
    old, new = run.path / ".state.json.12-34", run.path / ".control.json.12-34"
    for path in (*left, old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with run.hold():
        assert [path for path in (*left, old, new) if path.exists()] == [new]
        assert run.state.phase == "queued"
