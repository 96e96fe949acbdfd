"""The run folder after small trainings: its files, rows and weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainings import keep, write

from minivit.data import load_split
from minivit.engine import train
from minivit.errors import RunError
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run, default_runs_dir, extend, find_run
from minivit.runs import checkpoint as checkpoint_module
from minivit.runs import run as run_module

COLUMNS = {
    "epoch",
    "train_loss",
    "train_acc",
    "test_loss",
    "test_acc",
    "lr",
    "train_seconds",
    "eval_seconds",
    "images_per_second",
}
UNTRAINED = {"train_loss", "train_acc", "train_seconds", "images_per_second"}  # columns without a value in epoch 0


# The folder


def test_a_trained_run_holds_the_files_of_the_contract_and_nothing_else(run):
    train(run.config, run)
    assert {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()} == {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "state.json",
        "resume.safetensors",
        "worker.lock",
        *(f"checkpoints/epoch-{epoch:04}.safetensors" for epoch in range(4)),
        *(f"checkpoints/epoch-0000-step-{step:05}.safetensors" for step in (1, 2)),
    } | ({"control.json"} if (run.path / "control.json").exists() else set())


def test_the_settings_are_written_once_and_are_the_runs_settings(run):
    before = (run.path / "config.json").stat()
    train(run.config, run)
    after = (run.path / "config.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    stored = json.loads((run.path / "config.json").read_text())
    assert stored.pop("schema_version") == 1
    assert stored == json.loads(run.config.model_dump_json())
    assert Run.open(run.path).config == run.config


def test_a_run_of_before_there_was_a_second_drawing_of_shapes_keeps_the_first(run):
    stored = json.loads((run.path / "config.json").read_text())
    assert stored.pop("drawing") == 2
    write(run, "config.json", json.dumps(stored))
    earlier = Run.open(run.path)
    assert earlier.config == run.config.changed(drawing=1)
    assert not (load_split(earlier.config)[1].images[:] == load_split(run.config)[1].images[:]).all((1, 2, 3)).any()
    earlier.set_state("done")
    extend(earlier, run.config.epochs + 1)
    assert Run.open(run.path).config.drawing == 1
    write(run, "config.json", json.dumps(stored | {"dataset": "cifar10"}))  # no other data set has changed
    assert Run.open(run.path).config.drawing == 2


def test_the_environment_names_versions_device_data_and_command(run):
    assert run.environment == {}
    train(run.config, run)
    facts = run.environment
    assert (facts["torch"], facts["device"], facts["threads"]) == (torch.__version__, "cpu", 1)
    assert (facts["num_train"], facts["num_test"], facts["skipped_files"]) == (96, 24, [])
    assert len(set(facts["data_fingerprint"].split())) == 2
    assert isinstance(facts["command"], list) and facts["python"]


def test_metrics_rows_have_the_columns_of_the_contract_and_epoch_0_has_no_train_metrics(run):
    train(run.config, run)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(row.pop("crc32") for row in rows) and rows == run.metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    for values in rows:
        assert set(values) == COLUMNS
        assert {name for name, value in values.items() if value is None} == (set() if values["epoch"] else UNTRAINED)
        assert 0 <= values["test_acc"] <= 1 and values["test_loss"] > 0
    assert run.state.phase == "done" and run.state.epoch == 3


def test_a_copied_folder_is_the_same_run_elsewhere(run, tmp_path):
    train(run.config, run)
    copy = Run.open(shutil.copytree(run.path, tmp_path / "elsewhere" / "my copy (2)"))
    assert copy.config == run.config and copy.metrics() == run.metrics() and copy.state == run.state
    for name, value in run.load_model().state_dict().items():
        assert torch.equal(value, copy.load_model().state_dict()[name])


def test_runs_created_in_the_same_second_get_different_folders(tiny, monkeypatch):
    class Noon(run_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 2, 12, 0, 0)

    monkeypatch.setattr(run_module, "datetime", Noon)
    ids = [Run.create(tiny).id for _ in range(3)]
    assert ids == [f"20300102-120000-circle-star{suffix}" for suffix in ("", "-2", "-3")]


def test_a_folder_name_contains_only_plain_characters_of_the_class_names(tiny):
    config = tiny.changed(classes=("../T-shirt/top", "Größe 3?", "x" * 80))
    run = Run.create(config)
    assert run.path.parent.name == "runs"
    assert set(run.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert find_run(run.id).config == config


def test_a_runs_folder_that_cannot_be_made_is_named_in_the_error(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=f"{tmp_path}/file"):
        Run.create(tiny, tmp_path / "file")


def test_a_disk_that_is_full_leaves_no_half_run(tiny, monkeypatch):
    write = run_module.replace_file

    def full(path, content):
        if path.name == "state.json":
            raise RunError(f"{path} cannot be written")
        write(path, content)

    monkeypatch.setattr(run_module, "replace_file", full)
    with pytest.raises(RunError, match="cannot be written"):
        Run.create(tiny)
    assert not list(default_runs_dir().iterdir())


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


def test_the_first_epoch_has_checkpoints_at_steps_that_double(run):
    train(run.config, run)  # 3 steps an epoch
    assert run.epochs() == [0, 1, 2, 3]
    assert run.checkpoints() == [
        Checkpoint(0),
        Checkpoint(0, 1),
        Checkpoint(0, 2),
        Checkpoint(1),
        Checkpoint(2),
        Checkpoint(3),
    ]
    early, untrained = run.load_model(Checkpoint(0, 1)), run.load_model(0)
    moved = (early.head.weight - untrained.head.weight).abs().max()
    assert 0 < moved < 0.002  # Adam's first step is the learning rate
    with pytest.raises(RunError, match=r"has no checkpoint 0\.3;"):
        run.load_model(Checkpoint(0, 3))


def test_large_weights_have_no_checkpoints_within_the_first_epoch(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "MAX_CHECKPOINT_BYTES", 1000)
    train(run.config, run)
    assert run.checkpoints() == [Checkpoint(0), Checkpoint(3)]


@pytest.mark.parametrize("last", [0, 1, 2, 7, 30, 45])
def test_evenly_spaced_epochs_with_the_first_and_the_newest_stay_within_the_limit(run, monkeypatch, last):
    size = 10_000
    weights = torch.nn.Linear(50, 40)  # 8,160 bytes and a header
    monkeypatch.setattr(checkpoint_module, "MAX_CHECKPOINT_BYTES", 8 * size)
    for epoch in range(last + 1):
        run.save_checkpoint(weights, epoch)
        kept = run.epochs()
        files = list((run.path / "checkpoints").iterdir())
        assert sum(file.stat().st_size for file in files) <= 8 * size
        assert kept[0] == 0 and kept[-1] == epoch and len(files) == len(kept)
        assert any(kept == [*range(0, epoch, step), epoch] for step in (1, 2, 4, 8, 16, 32, 64))
        assert len(kept) >= min(epoch + 1, 4)  # no more is deleted than the limit asks for


def test_two_checkpoints_stay_however_small_the_limit(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "MAX_CHECKPOINT_BYTES", 1)
    keep(run, 0, 1, 2, 3)
    assert run.epochs() == [0, 3]


def test_loading_a_model_before_the_first_checkpoint_raises_an_error(run):
    with pytest.raises(RunError, match=f"{run.id} has no checkpoints yet"):
        run.load_model()


def test_an_epoch_without_checkpoint_raises_an_error_that_lists_the_others(run):
    keep(run, 0, 4)
    with pytest.raises(RunError, match="has no checkpoint 77; it has 0, 4"):
        run.load_model(77)


DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn, torch.int64)


@pytest.mark.parametrize("damage", ["another model", "other names", "cut off", "empty", "another format", *DTYPES])
def test_a_checkpoint_without_this_runs_weights_raises_an_error_with_its_path(run, tiny, damage):
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
        case torch.dtype():
            save_file({name: tensor.to(damage) for name, tensor in load_file(path).items()}, path)
        case "another format":
            path.write_text("these are no weights, and there are more than eight bytes of them")
    with pytest.raises(RunError, match=rf"{path} does not contain the weights of this run's model"):
        run.load_model(0)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_damaged_resume_file_raises_an_error_with_advice(run, content):
    assert run.load_resume() is None
    (run.path / "resume.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"resume\.safetensors cannot be read.*Delete it"):
        run.load_resume()


def test_training_does_not_continue_from_another_runs_weights(run, tiny):
    train(run.config, run)
    other = Run.create(tiny.changed(embed_dim=32))
    (run.path / "resume.safetensors").rename(other.path / "resume.safetensors")
    with pytest.raises(RunError, match=f"{other.id} does not match its settings"):
        train(other.config, other)
    assert other.state.phase == "failed" and other.id in other.state.message
    assert other.epochs() == []


def test_checkpoints_have_timms_names_and_every_file_is_json_or_safetensors(run):
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
    assert not {file.suffix for file in run.path.rglob("*") if file.is_file()} - {
        ".json",
        ".safetensors",
        ".lock",
    }
