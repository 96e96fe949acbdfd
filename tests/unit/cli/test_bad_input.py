"""Bad input on the command line: one sentence, exit code 2, and nothing changed."""

import hashlib
import shutil

import pytest
import torch

from minivit.runs import Run
from tests.unit.cli.conftest import SMALL


def fingerprint(run: Run) -> dict[str, str]:
    """All files of a run by content, apart from the lock that readers touch."""
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name != "worker.lock")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Bad input


def assert_one_sentence(code: int, out: str, err: str, *values: object) -> None:
    assert code == 2, out + err
    assert err.startswith("minivit: ") and err.endswith(".\n") and err.count("\n") == 1
    assert "Traceback" not in err
    for value in values:
        assert str(value) in err


FOLDER = ["--dataset", "folder", "--data-dir", "{images}"]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ([*FOLDER, "--classes", "circle"], ["'circle'", "at least 2"]),
        ([*FOLDER, "--classes", "circle", "circle"], ["'circle'", "twice"]),
        ([*FOLDER, "--classes", "circle", "dog"], ["'dog'", "circle, cross, star"]),
        (["--dataset", "folder"], ["--data-dir"]),
        (["--dataset", "folder", "--data-dir", "{tmp}/nowhere"], ["{tmp}/nowhere"]),
        (["--dataset", "folder", "--data-dir", "{tmp}/one"], ["{tmp}/one", "'only'", "at least 2"]),
        (["--dataset", "folder", "--data-dir", "{tmp}/flat", "--split", "official"], ["{tmp}/flat", "test split"]),
        (["--dataset", "cifar10"], ["CIFAR-10", "shapes"]),
        (["--dataset", "mnist"], ["'mnist'"]),
        (["--preset", "huge"], ["'huge'"]),
        ([*FOLDER, "--patch-size", "5"], ["5 px", "32 px"]),
        ([*FOLDER, "--num-heads", "3"], ["3 heads", "16"]),
        ([*FOLDER, "--epochs", "many"], ["--epochs", "'many'"]),
        ([*FOLDER, "--epochs", "1.5"], ["--epochs", "'1.5'"]),
        ([*FOLDER, "--epochs", "0"], ["epochs", "0", "greater than or equal to 1"]),
        ([*FOLDER, "--lr", "nan"], ["lr", "nan"]),
        ([*FOLDER, "--seed", "99999999999999999999"], ["seed", "99999999999999999999"]),
        ([*FOLDER, "--device", "cuda"], ["cuda"]),
        ([*FOLDER, "--color", "red"], ["--color"]),
        ([*FOLDER, "--runs-dir", "{tmp}/file"], ["{tmp}/file"]),
        ([*FOLDER, "--classes"], ["--classes"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_bad_settings_are_refused_in_one_sentence_before_a_run_is_made(
    call, image_folder, tmp_path, monkeypatch, options, values
):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for path in ("one/only", "flat/a", "flat/b"):
        shutil.copytree(image_folder / "train" / "star", tmp_path / path)
    (tmp_path / "file").write_text("")
    names = {"images": image_folder, "tmp": tmp_path}
    code, out, err = call("train", *SMALL, *(option.format(**names) for option in options))
    assert_one_sentence(code, out, err, *(value.format(**names) for value in values))
    assert out == ""
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "options", "values"),
    [
        ("predict", ["--epoch", "77"], ["77", "0, 1, 2, 3"]),
        ("predict", ["--epoch", "-1"], ["-1"]),
        ("predict", ["--epoch", "last"], ["'last'"]),
        ("export", ["--epoch", "77"], ["77", "0, 1, 2, 3"]),
        ("export", ["--image", "99999"], ["99999", "0 to 29"]),
        ("export", ["--image", "-1"], ["-1", "0 to 29"]),
        ("export", ["--image", "x"], ["'x'"]),
        ("export", ["--layer", "3"], ["layer 3", "1 to 2"]),
        ("export", ["--layer", "0"], ["layer 0", "1 to 2"]),
        ("export", ["--head", "9"], ["head 9", "1 to 2"]),
        ("export", ["--head", "0"], ["0"]),
        ("export", ["--head", "-1"], ["-1"]),
        ("export", ["--head", "median"], ["median"]),
        ("export", ["--output", "/nowhere/attention.json"], ["/nowhere/attention.json"]),
        ("resume", ["--epochs", "9", "--lr", "-1"], ["lr", "-1"]),
        ("resume", ["--epochs", "9", "--devices", "0"], ["devices", "0"]),
    ],
)
def test_an_invalid_command_on_a_run_is_rejected_in_one_sentence_and_changes_nothing(
    call, trained, command, options, values
):
    before = fingerprint(trained)
    code, out, err = call(command, trained.path, *options)
    assert_one_sentence(code, out, err, *values)
    assert out == "" and fingerprint(trained) == before


@pytest.mark.parametrize("command", ["predict", "export", "resume"])
def test_a_folder_that_is_no_run_is_refused_by_its_path(call, tmp_path, command):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        assert_one_sentence(*call(command, path), path)
    assert not (tmp_path / "nowhere").exists() and list((tmp_path / "empty").iterdir()) == []
    assert_one_sentence(*call(command), "RUN_DIR")


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_run_without_checkpoints_is_refused_by_name(call, copy, command):
    shutil.rmtree(copy.path / "checkpoints")
    assert_one_sentence(*call(command, copy.path), copy.id, "no checkpoints")


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_damaged_checkpoint_is_refused_by_its_path(call, copy, command):
    path = copy.path / "checkpoints" / "epoch-0003.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert_one_sentence(*call(command, copy.path), path)
    assert call(command, copy.path, "--epoch", 2)[0] == 0


def test_a_run_that_another_worker_has_is_not_resumed(call, copy, monkeypatch):
    monkeypatch.setattr("minivit.runs.files.LOCK_SECONDS", 0.1)
    with copy.hold():
        assert_one_sentence(*call("resume", copy.path), copy.id, "Another worker")


def test_a_missing_or_unknown_command_is_rejected_in_one_sentence(call):
    assert_one_sentence(*call(), "COMMAND")
    assert_one_sentence(*call("dance"), "'dance'")
    assert_one_sentence(*call("download", "shapes"), "'shapes'")
