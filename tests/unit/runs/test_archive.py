"""Runs as .zip: a run comes back the same, and other files are refused."""

import io
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors.torch import save
from trainings import write

from minivit.engine import SILENT, train
from minivit.errors import RunError
from minivit.runs import Run, annotate, archive, list_runs, read_annotations
from minivit.runs.archive import pack, unpack
from minivit.runs.pictures import save_picture, saved_pictures


@pytest.fixture
def run(tiny) -> Run:
    run = Run.create(tiny.changed(epochs=1))
    train(run.config, run, SILENT)
    run.rename("My <b>first</b>")
    annotate(run, tags=["first"], note="A <i>note</i>", favorite=True)
    save_picture(run, b"a picture", ".png")
    return run


def changed(content: bytes, **files: bytes | None) -> io.BytesIO:
    """A copy of a .zip with some files replaced, added, or left out (None), by their names."""
    with ZipFile(io.BytesIO(content)) as old:
        files_before = {info.filename: old.read(info) for info in old.infolist()}
    copy = io.BytesIO()
    with ZipFile(copy, "w") as new:
        for name, data in {**files_before, **files}.items():
            if data is not None:
                new.writestr(name, data)
    return copy


def everything_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_run_comes_back_from_its_zip_next_to_itself(run):
    (run.path / "worker.lock").write_text("")
    run.request("pause")
    back = unpack(io.BytesIO(pack(run)))
    assert back.id == f"{run.id}-2" and list_runs() == [back, run]
    for read in (lambda run: run.config, Run.metrics, Run.checkpoints, lambda run: run.name, read_annotations):
        assert read(back) == read(run)
    assert (back.state.phase, back.state.epoch, back.environment) == ("done", 1, run.environment)
    for name, value in run.load_model().state_dict().items():
        assert torch.equal(value, back.load_model().state_dict()[name])
    assert [path.read_bytes() for path in saved_pictures(back).values()] == [b"a picture"]
    assert back.requested_command() is None  # commands belong to the machine


def test_a_trial_comes_back_as_a_trial_of_its_sweep(run, tiny):
    trial = Run.create(tiny, sweep="grid-of-depths")
    trial.save_checkpoint(run.load_model(0), 0)
    trial.set_state("stopped")
    assert unpack(io.BytesIO(pack(trial))).sweep == "grid-of-depths"


def test_a_run_in_training_is_not_packed(run):
    with run.hold():
        run.set_state("training", 1)
        with pytest.raises(RunError, match="Pause or stop it"):
            pack(run)


def test_a_run_packed_before_its_training_was_complete_is_stopped(run):
    content = pack(run)
    name = f"{run.id}/state.json"
    back = unpack(changed(content, **{name: b'{"phase": "training", "epoch": 1, "updated": 0}'}))
    assert (back.state.phase, back.state.epoch) == ("stopped", 1)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/etc/evil",
        "{run}/../../evil.txt",
        "{run}/checkpoints/../../evil.safetensors",
        "C:\\evil",
        "{run}/notes.txt",
        "{run}/pictures/0123456789abcdef.exe",
        "{run}/checkpoints/epoch-0000.pt",
        "{run}/sub/config.json",
        "other/metrics.jsonl",
        "{run}/checkpoints/epoch-٠٠٠٠.safetensors",
        "{run}/config.json/x",
    ],
)
def test_a_zip_with_any_other_file_is_refused_and_nothing_is_written(run, tmp_path, name):
    content = changed(pack(run), **{name.format(run=run.id): b"{}"})
    before = everything_under(tmp_path)
    with pytest.raises(RunError, match=r"not a file of a run|2 config\.json files"):
        unpack(content)
    assert everything_under(tmp_path) == before


INVALID = {
    "metrics.jsonl": b'{"epoch": 0, "test_acc": NaN}\n' * 2,
    "environment.json": b"[1]",
    "state.json": b"[1]",
    "annotations.json": b'{"note": 5}',
}


@pytest.mark.parametrize(
    "damage",
    ["no zip", "cut off", "empty", "no run", "no weights", "weights", "settings", "deep", "no metrics", *INVALID],
)
def test_a_zip_without_a_complete_run_is_refused_and_nothing_is_written(run, tmp_path, damage):
    content = pack(run)
    checkpoint = f"{run.id}/checkpoints/epoch-0001.safetensors"
    damaged = {
        "no zip": io.BytesIO(b"x" * 500),
        "cut off": io.BytesIO(content[: len(content) // 2]),
        "empty": changed(b"PK\5\6" + bytes(18)),
        "no run": changed(content, **{f"{run.id}/config.json": None}),
        "no weights": changed(
            content, **{f"{run.id}/{path.relative_to(run.path)}": None for path in run.path.rglob("e*s")}
        ),
        "weights": changed(content, **{checkpoint: save({"head.weight": torch.zeros(2)})}),
        "settings": changed(content, **{f"{run.id}/config.json": b'{"schema_version": 1, "epochs": 0}'}),
        "no metrics": changed(content, **{f"{run.id}/metrics.jsonl": None}),
        **{name: changed(content, **{f"{run.id}/{name}": invalid}) for name, invalid in INVALID.items()},
        "deep": changed(content, **{f"{run.id}/config.json": b"[" * 100_000}),
    }[damage]
    before = everything_under(tmp_path)
    with pytest.raises(RunError):
        unpack(damaged)
    assert everything_under(tmp_path) == before


def test_a_zip_that_would_fill_the_disk_is_refused_before_it_is_unpacked(run, monkeypatch):
    content = pack(run)
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(RunError, match="exceeds the limits"):
        unpack(io.BytesIO(content))
    monkeypatch.setattr(archive, "MAX_BYTES", 2**40)
    with pytest.raises(RunError, match=r"log\.txt' in this .zip has"):
        unpack(changed(content, **{f"{run.id}/log.txt": bytes(65 * 2**20)}))


def test_files_without_a_folder_around_them_are_accepted(run):
    with ZipFile(io.BytesIO(pack(run))) as old:
        flat = {info.filename.split("/", 1)[1]: old.read(info) for info in old.infolist()}
    file = io.BytesIO()
    with ZipFile(file, "w") as new:
        for name, data in flat.items():
            new.writestr(name, data)
    assert unpack(file).id == "imported"


@pytest.mark.parametrize("name", ["sweeps", "Sweeps", "example"])
def test_a_run_does_not_take_the_folder_of_the_sweeps_or_the_link_of_the_example(run, name):
    by_hand = run.path.rename(run.path.with_name(name))
    content = pack(Run.open(by_hand))
    by_hand.rename(run.path)
    assert unpack(io.BytesIO(content)).id == "imported"


def test_a_missing_runs_folder_is_made(run, tmp_path):
    content = pack(run)
    shutil.rmtree(run.path.parent)
    assert unpack(io.BytesIO(content)).id == run.id


def test_a_folder_zipped_by_hand_is_accepted_without_what_belongs_to_a_machine(run):
    extra = ("worker.lock", "control.json", ".DS_Store", "__MACOSX/._config.json", "predictions/epoch-0001.safetensors")
    extra += ("._config.json", ".state.json.12-345", "checkpoints/.epoch-0002.safetensors.12-345")
    by_hand = changed(pack(run), **{f"{run.id}/{name}": b"{}" for name in extra})
    back = unpack(by_hand)
    assert back.metrics() == run.metrics() and not {*extra} & everything_under(back.path)


def test_a_requested_learning_rate_is_part_of_a_packed_run(run):
    write(run, "lr.txt", "0.01")
    assert (unpack(io.BytesIO(pack(run))).path / "lr.txt").read_text() == "0.01"


def test_a_file_that_is_compressed_beyond_reason_is_refused_before_it_is_unpacked(run):
    content = io.BytesIO(pack(run))
    with ZipFile(content, "a", ZIP_DEFLATED) as bomb:
        bomb.writestr(f"{run.id}/checkpoints/epoch-0005.safetensors", bytes(32 * 2**20))
    before = everything_under(run.path.parent)
    with pytest.raises(RunError, match="compression ratio"):
        unpack(content)
    assert everything_under(run.path.parent) == before


def test_many_files_that_are_each_just_small_enough_are_no_way_around_that(run):
    content = io.BytesIO(pack(run))
    with ZipFile(content, "a", ZIP_DEFLATED) as bomb:
        for epoch in range(10, 30):
            bomb.writestr(f"{run.id}/checkpoints/epoch-{epoch:04}.safetensors", bytes(15 * 2**20))
    with pytest.raises(RunError, match=r"ratio of this \.zip is too high"):
        unpack(content)
