"""The run folder as a stranger finds it: what is in it, what survives a crash, and what is refused."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from minivit import runs
from minivit.config import TrainConfig
from minivit.engine import train
from minivit.errors import RunError
from minivit.files import read_json
from minivit.model import MiniViT
from minivit.runs import Moment, Run, find_run, list_runs

COLUMNS = {
    "epoch", "train_loss", "train_acc", "test_loss", "test_acc", "lr", "train_seconds", "eval_seconds",
    "images_per_second",
}  # fmt: skip
UNTRAINED = {"train_loss", "train_acc", "train_seconds", "images_per_second"}  # columns without a value in epoch 0


@pytest.fixture
def run(tiny: TrainConfig) -> Run:
    return Run.create(tiny)


def keep(run: Run, *epochs: int) -> None:
    for epoch in epochs:
        run.save_checkpoint(MiniViT(run.config.model), epoch)


def write(run: Run, name: str, text: str) -> None:
    (run.path / name).write_text(text)


def row(epoch: int, **values: float) -> dict[str, float]:
    return {"epoch": epoch, **values}


# The folder


def test_a_trained_run_holds_the_files_of_the_contract_and_nothing_else(run):
    train(run.config, run)
    assert {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()} == {
        "config.json", "environment.json", "metrics.jsonl", "state.json", "resume.safetensors", "worker.lock",
        *(f"checkpoints/epoch-{epoch:04}.safetensors" for epoch in range(4)),
        *(f"checkpoints/epoch-0000-step-{step:05}.safetensors" for step in (1, 2)),
    } | ({"control.json"} if (run.path / "control.json").exists() else set())  # fmt: skip


def test_the_settings_are_written_once_and_are_the_runs_settings(run):
    before = (run.path / "config.json").stat()
    train(run.config, run)
    after = (run.path / "config.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    stored = json.loads((run.path / "config.json").read_text())
    assert stored.pop("schema_version") == 1
    assert stored == json.loads(run.config.model_dump_json())
    assert Run.open(run.path).config == run.config


def test_the_environment_names_versions_device_data_and_command(run):
    assert run.environment == {}
    train(run.config, run)
    facts = run.environment
    assert (facts["torch"], facts["device"], facts["threads"]) == (torch.__version__, "cpu", 1)
    assert (facts["num_train"], facts["num_test"], facts["skipped_files"]) == (96, 24, [])
    assert len(set(facts["data_fingerprint"].split())) == 2
    assert isinstance(facts["command"], list) and facts["python"]


def test_metrics_rows_have_the_columns_of_the_contract_and_epoch_0_has_no_train_figures(run):
    train(run.config, run)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == run.metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    for one in rows:
        assert set(one) == COLUMNS
        assert {name for name, value in one.items() if value is None} == (set() if one["epoch"] else UNTRAINED)
        assert 0 <= one["test_acc"] <= 1 and one["test_loss"] > 0
    assert run.state.phase == "done" and run.state.epoch == 3


def test_a_copied_folder_is_the_same_run_elsewhere(run, tmp_path):
    train(run.config, run)
    copy = Run.open(shutil.copytree(run.path, tmp_path / "elsewhere" / "my copy (2)"))
    assert copy.config == run.config and copy.metrics() == run.metrics() and copy.state == run.state
    for name, value in run.load_model().state_dict().items():
        assert torch.equal(value, copy.load_model().state_dict()[name])


def test_two_runs_of_one_second_get_two_folders(tiny, monkeypatch):
    class Noon(runs.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 2, 12, 0, 0)

    monkeypatch.setattr(runs, "datetime", Noon)
    ids = [Run.create(tiny).id for _ in range(3)]
    assert ids == [f"20300102-120000-circle-star{suffix}" for suffix in ("", "-2", "-3")]


def test_a_folder_name_holds_no_character_of_a_class_that_a_path_could_misread(tiny):
    config = tiny.changed(classes=("../T-shirt/top", "Größe 3?", "x" * 80))
    run = Run.create(config)
    assert run.path.parent.name == "runs"
    assert set(run.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert find_run(run.id).config == config


def test_a_runs_folder_that_cannot_be_made_is_told_by_name(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=f"{tmp_path}/file"):
        Run.create(tiny, tmp_path / "file")


# Metrics and log


def test_a_row_that_is_still_being_written_is_not_read(run):
    run.append_metrics(row(0))
    run.append_metrics(row(1))
    whole = (run.path / "metrics.jsonl").read_bytes()
    for cut in range(len(whole)):
        (run.path / "metrics.jsonl").write_bytes(whole[:cut])
        assert [one["epoch"] for one in run.metrics()] == list(range(whole[:cut].count(b"\n")))


def test_a_row_after_half_a_row_of_a_crash_is_not_lost(run):
    run.append_metrics(row(0))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "test_l')
    run.append_metrics(row(1, test_loss=0.5))
    run.append_metrics(row(2))
    assert run.metrics() == [row(0), row(1, test_loss=0.5), row(2)]


def test_of_an_epoch_that_was_done_twice_the_later_row_counts(run):
    for one in (row(0, lr=1), row(1, lr=1), row(2, lr=1), row(1, lr=2), row(2, lr=2)):
        run.append_metrics(one)
    assert run.metrics() == [row(0, lr=1), row(1, lr=2), row(2, lr=2)]


def test_lines_that_are_no_rows_do_not_hide_the_others(run):
    write(
        run,
        "metrics.jsonl",
        '\n[]\n7\n{}\n{"epoch": "x"}\n{"epoch": [1]}\n{"epoch": 0}\nnull\n\x00\xff\n{"epoch": 1}\n',
    )
    assert run.metrics() == [row(0), row(1)]


def test_metrics_that_cannot_be_written_are_a_sentence_with_the_path(run):
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=f"{run.path}/metrics.jsonl cannot be written"):
        run.append_metrics(row(0))


def test_the_log_is_its_last_whole_lines(run):
    assert run.log() == ""
    write(run, "log.txt", "one\ntwo\nthree\nhal")
    assert run.log() == "one\ntwo\nthree"
    assert run.log(2) == "two\nthree"


# Checkpoints


def test_a_loaded_model_is_the_saved_one_in_evaluation_mode(run):
    torch.manual_seed(1)
    model = MiniViT(run.config.model)
    run.save_checkpoint(model, 0)
    keep(run, 1)
    loaded = run.load_model(0)
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert not torch.equal(run.load_model().head.weight, loaded.head.weight)  # the newest by default, which is another
    assert torch.equal(run.load_model().head.weight, run.load_model(1).head.weight)


def test_the_first_epoch_is_kept_at_steps_that_double(run):
    train(run.config, run)  # 3 steps an epoch
    assert run.epochs() == [0, 1, 2, 3]
    assert run.moments() == [Moment(0), Moment(0, 1), Moment(0, 2), Moment(1), Moment(2), Moment(3)]
    early, untrained = run.load_model(Moment(0, 1)), run.load_model(0)
    moved = (early.head.weight - untrained.head.weight).abs().max()
    assert 0 < moved < 0.002  # Adam's first step is the learning rate
    with pytest.raises(RunError, match="keeps no weights of epoch 0, step 3;"):
        run.load_model(Moment(0, 3))


def test_weights_too_large_to_keep_so_often_are_not_kept_within_the_first_epoch(run, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_BUDGET", 1000)
    train(run.config, run)
    assert run.moments() == [Moment(0), Moment(3)]


@pytest.mark.parametrize("last", [0, 1, 2, 7, 30, 45])
def test_thinning_keeps_the_untrained_and_the_newest_and_even_steps_within_the_budget(run, monkeypatch, last):
    size = 10_000
    weights = torch.nn.Linear(50, 40)  # 8,160 bytes and a header
    monkeypatch.setattr(runs, "CHECKPOINT_BUDGET", 8 * size)
    for epoch in range(last + 1):
        run.save_checkpoint(weights, epoch)
        kept = run.epochs()
        files = list((run.path / "checkpoints").iterdir())
        assert sum(file.stat().st_size for file in files) <= 8 * size
        assert kept[0] == 0 and kept[-1] == epoch and len(files) == len(kept)
        assert any(kept == [*range(0, epoch, step), epoch] for step in (1, 2, 4, 8, 16, 32, 64))
        assert len(kept) >= min(epoch + 1, 4)  # no more is thrown away than the budget asks for


def test_two_checkpoints_stay_however_small_the_budget(run, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_BUDGET", 1)
    keep(run, 0, 1, 2, 3)
    assert run.epochs() == [0, 3]


def test_a_run_without_checkpoints_says_so(run):
    with pytest.raises(RunError, match=f"{run.id} has no checkpoints yet"):
        run.load_model()


def test_an_epoch_that_is_not_kept_is_refused_with_those_that_are(run):
    keep(run, 0, 4)
    with pytest.raises(RunError, match="no weights of epoch 77; it keeps 0, 4"):
        run.load_model(77)


@pytest.mark.parametrize("damage", ["another model", "other names", "cut off", "empty", "no file of this kind"])
def test_a_file_without_this_runs_weights_is_refused_by_name(run, tiny, damage):
    keep(run, 0)
    path = run.path / "checkpoints" / "epoch-0000.safetensors"
    match damage:
        case "another model":
            save_file(MiniViT(tiny.changed(embed_dim=32).model).state_dict(), path)
        case "other names":
            save_file({"weight": torch.zeros(2)}, path)
        case "cut off":
            path.write_bytes(path.read_bytes()[:-100])
        case "empty":
            path.write_bytes(b"")
        case "no file of this kind":
            path.write_text("these are no weights, and there are more than eight bytes of them")
    with pytest.raises(RunError, match=rf"{path} does not hold the weights of this run's model\. Choose another epoch"):
        run.load_model(0)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_broken_resume_file_is_refused_by_name_with_what_to_do(run, content):
    assert run.load_resume() is None
    (run.path / "resume.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"resume\.safetensors cannot be read.*Delete it"):
        run.load_resume()


def test_weights_of_another_run_are_not_gone_on_from(run, tiny):
    train(run.config, run)
    other = Run.create(tiny.changed(embed_dim=32))
    (run.path / "resume.safetensors").rename(other.path / "resume.safetensors")
    with pytest.raises(RunError, match=f"{other.id} would go on from does not fit its settings"):
        train(other.config, other)
    assert other.state.phase == "failed" and other.id in other.state.message
    assert other.epochs() == []


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
        run.ask("stop")
    assert not run.path.exists()


# Wishes


def test_the_last_wish_counts(run):
    assert run.asked() is None
    run.ask("pause")
    run.ask("stop")
    assert run.asked() == "stop"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"wish": "dance"}', '{"wish": ["stop"]}', '{"wish": null}'])
def test_a_wish_that_makes_no_sense_is_none(run, text):
    write(run, "control.json", text)
    assert run.asked() is None


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
    assert not run.worker_alive()
    with run.hold():
        assert run.worker_alive()
        with pytest.raises(RunError, match=f"Another worker is busy with the run {run.id}"), Run.open(run.path).hold():
            raise AssertionError("two workers hold one run")
        assert run.worker_alive()
    assert not run.worker_alive()


def test_a_reader_that_tests_the_lock_does_not_keep_a_worker_out(run):
    reader = FileLock(run.path / "worker.lock", thread_local=False)
    reader.acquire()
    threading.Timer(0.2, reader.release).start()
    with run.hold():
        assert run.worker_alive()


def test_a_lock_file_left_by_a_dead_worker_holds_nothing(run):
    write(run, "worker.lock", str(os.getpid()))
    assert not run.worker_alive()
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
