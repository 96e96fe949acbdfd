"""The command line, once as a real process and then in this one; folders of real PNG files."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import article_yardstick
import numpy as np
import pytest
import torch
from PIL import Image

from minivit.cli import main
from minivit.cli.options import ProgressBar
from minivit.config import preset, settings
from minivit.engine import Events, train
from minivit.runs import Run
from minivit.worker import PROJECT

CLASSES = ("star", "circle", "cross")
SMALL = [
    "--patch-size",
    "8",
    "--embed-dim",
    "16",
    "--depth",
    "2",
    "--num-heads",
    "2",
    "--batch-size",
    "32",
    "--device",
    "cpu",
    "--threads",
    "1",
]


@pytest.fixture
def call(capsys):
    """Runs the command line here; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def process(image_folder, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """`python -m minivit train` as a process of its own."""
    runs, command = tmp_path_factory.mktemp("runs"), [sys.executable, "-m", "minivit", "train", *SMALL]
    command += ["--preset", "article", "--dataset", "folder", "--data-dir", str(image_folder), "--classes", *CLASSES]
    command += ["--split", "official", "--epochs", "3", "--runs-dir", str(runs)]
    data, locks = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("locks")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(data), "MINIVIT_DATA": str(data), "MINIVIT_LOCKS": str(locks)}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(process) -> Run:
    """The run of that process. Tests leave it as it is."""
    return Run.open(process.stdout.splitlines()[-1])


@pytest.fixture
def copy(trained, tmp_path) -> Run:
    """A copy of the trained run, to be spoilt."""
    return Run.open(shutil.copytree(trained.path, tmp_path / "copy"))


def fingerprint(run: Run) -> dict[str, str]:
    """All files of a run by content, apart from the lock that readers touch."""
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name != "worker.lock")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def files_of(folder: Path, part: str) -> list[tuple[int, torch.Tensor]]:
    """Label and image (1, 3, 32, 32) 0..1 of every file, read without MiniViT, in the order of the data set."""
    found = []
    for name in sorted(CLASSES):
        for path in sorted((folder / part / name).iterdir()):
            pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255
            found.append((CLASSES.index(name), torch.from_numpy(pixels).permute(2, 0, 1)[None]))
    return found


# Train


def test_training_prints_a_line_per_epoch_and_the_run_folder_last(process, trained):
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert "90 training and 30 test images" in lines[0]
    epochs = [line for line in lines[1:-1] if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 0 (untrained)", "epoch 1", "epoch 2", "epoch 3"]
    assert [line.split(":")[0] for line in lines[1:-1] if line not in epochs] == ["The step is not compiled"]
    for line, row in zip(epochs, trained.metrics(), strict=True):
        assert f"accuracy {row['test_acc']:.4f}" in line and f"test loss {row['test_loss']:.4f}" in line
    assert Path(lines[-1]) == trained.path and trained.state.phase == "done"
    assert process.stderr == ""


def test_runs_are_listed_newest_first_as_lines_or_as_json(call, trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / trained.id)
    waiting = Run.create(trained.config, tmp_path)
    code, out, _ = call("runs", "--runs-dir", tmp_path)
    accuracy = trained.metrics()[-1]["test_acc"]
    assert code == 0 and [line.split("\t") for line in out.splitlines()] == [
        ["queued", "epoch 0 of 3", "–", str(waiting.path)],
        ["done", "epoch 3 of 3", f"{accuracy:.4f}", str(tmp_path / trained.id)],
    ]
    first, second = json.loads(call("runs", "--json", "--runs-dir", tmp_path)[1])
    assert first["id"] == waiting.id and first["metrics"] is None
    assert second["metrics"] == trained.metrics()[-1] and second["config"]["lr"] == trained.config.lr


def test_options_become_the_settings_of_the_run(trained, image_folder):
    assert trained.config == preset("article").changed(
        dataset="folder",
        data_dir=str(image_folder),
        classes=CLASSES,
        split="official",
        epochs=3,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        batch_size=32,
        device="cpu",
        threads=1,
    )
    assert trained.environment["command"][1:3] == ["train", "--patch-size"]


def test_every_setting_is_an_option_with_its_help(call):
    code, out, _ = call("train", "--help")
    assert code == 0
    words = " ".join(out.split())
    for setting in settings():
        assert f"--{setting.name.replace('_', '-')}" in out
        assert setting.help.split(".")[0][:20] in words


def test_without_classes_all_of_the_folder_are_used_and_a_relative_folder_is_found_later(
    call, image_folder, tmp_path, monkeypatch
):
    (tmp_path / "images").symlink_to(image_folder)
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("train", *SMALL, "--dataset", "folder", "--data-dir", "images", "--epochs", 1, "--normalize")
    assert code == 0
    run = Run.open(out.splitlines()[-1])
    assert run.path.parent == tmp_path / "runs"  # MINIVIT_RUNS
    assert run.config.classes == ("circle", "cross", "star") and run.config.normalize
    monkeypatch.chdir("/")
    assert call("predict", run.path)[0] == 0


# Predict


def test_prediction_prints_what_an_independent_count_gives(call, trained, image_folder):
    for epoch in (None, 0):
        model = trained.load_model(epoch)
        counts = np.zeros((3, 3), int)
        for label, image in files_of(image_folder, "test"):
            counts[label, model(image)[0].argmax()] += 1
        code, out, err = call("predict", trained.path, *([] if epoch is None else ["--epoch", epoch]))
        assert (code, err) == (0, "")
        first, _, _, header, *rows, last = out.splitlines()
        right = int(counts.trace())
        low, high = article_yardstick.wilson(right, 30)
        assert first == f"accuracy {right / 30:.4f} ({right} of 30; 95% interval {low:.4f} to {high:.4f})"
        assert header.split() == [*CLASSES, "recall"]
        for label, name in enumerate(CLASSES):
            said, *numbers, recall = rows[label].split()
            assert said == name and list(map(int, numbers)) == counts[label].tolist()
            assert float(recall) == pytest.approx(counts[label, label] / 10, abs=5e-4)
        for said, correct, total in zip(last.split()[1:], counts.diagonal(), counts.sum(0), strict=True):
            assert said == (f"{correct / total:.3f}" if total else "–")


def test_prediction_of_files_prints_path_class_and_probability_and_names_what_cannot_be_read(
    call, trained, image_folder, tmp_path
):
    path = next((image_folder / "test" / "cross").iterdir())
    (tmp_path / "broken.png").write_bytes(b"no image")
    pixels = torch.tensor(np.asarray(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 255
    probs = trained.load_model()(pixels).softmax(1)[0]
    code, out, err = call("predict", trained.path, "--images", tmp_path / "broken.png", path, tmp_path)
    assert out == f"{path}\t{CLASSES[int(probs.argmax())]}\t{probs.max():.4f}\n"
    assert code == 2 and "broken.png cannot be read" in err and f"{tmp_path} is not a file" in err


# Resume


def test_an_interrupted_run_is_finished_and_printed_last(call, tiny):
    run = Run.create(tiny)

    def progress(what, done, total):
        if what == "epoch 2":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("minivit.engine.control.POLL_SECONDS", -1)
        train(tiny, run, Events(progress=progress, log=lambda _: None))
    code, out, _ = call("resume", run.path)
    lines = out.splitlines()
    assert code == 0
    assert [line.split(":")[0] for line in lines[1:-1] if line.startswith("epoch")] == ["epoch 2", "epoch 3"]
    assert lines[-1] == str(run.path)
    assert run.state.phase == "done" and [row["epoch"] for row in run.metrics()] == [0, 1, 2, 3]


def test_the_keyboard_ends_it_with_what_to_do_next_and_no_traceback(call, tiny, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minivit.cli.training.train", interrupted)
    run = Run.create(tiny)
    code, out, err = call("resume", run.path)
    assert code == 130 and out.splitlines()[-1] == str(run.path)
    assert "resume" in err and "Traceback" not in err


# Export


@pytest.mark.parametrize(
    ("options", "layer", "head"),
    [
        ([], 0, "mean"),
        (["--layer", 2, "--head", 1], 1, 0),
        (["--head", 2], 0, 1),
        (["--layer", 2, "--head", "max"], 1, "max"),
    ],
)
def test_export_writes_the_articles_json_of_that_image_layer_and_head(
    call, trained, image_folder, options, layer, head
):
    _, image = files_of(image_folder, "test")[13]
    _, attn = trained.load_model(1)(image, return_attn=True)
    heads = {"mean": attn[layer][0].mean(0), "max": attn[layer][0].amax(0), 0: attn[layer][0, 0], 1: attn[layer][0, 1]}
    code, out, err = call("export", trained.path, "--epoch", 1, "--image", 13, *options)
    assert (code, err) == (0, "")
    stored = json.loads(out)
    assert stored["tokens"] == ["[CLS]", *(f"p{number}" for number in range(16))]
    torch.testing.assert_close(torch.tensor(stored["attentions"]), heads[head], atol=1e-5, rtol=0)


def test_export_writes_binary_kinds_into_a_file_alone(call, trained, tmp_path):
    code, out, err = call("export", trained.path, "--what", "npz")
    assert (code, out) == (2, "") and "Pass a file to write: --output FILE." in err
    assert call("export", trained.path, "--what", "npz", "--image", 3, "--output", tmp_path / "a.npz") == (0, "", "")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["attn"].shape == (2, 2, 17, 17) and arrays["number"] == 3


def test_export_writes_the_same_into_a_file(call, trained, tmp_path):
    printed = call("export", trained.path)[1]
    assert call("export", trained.path, "--output", tmp_path / "attention.json") == (0, "", "")
    assert json.loads((tmp_path / "attention.json").read_text()) == json.loads(printed)


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


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_a_console_that_lacks_a_letter_prints_a_mark_in_its_place(tmp_path, tiny, monkeypatch, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setenv("MINIVIT_RUNS", str(tmp_path / "Größe 漢字 ж"))
    assert main(["create", "--dataset", "shapes", "--classes", "circle", "star"]) == 0
    assert b"circle-star" in console.buffer.getvalue()


def test_class_names_may_start_with_a_dash(call, image_folder, tmp_path):
    for name, target in (("star", "-star"), ("cross", "--cross"), ("circle", "circle")):
        shutil.copytree(image_folder / "train" / name, tmp_path / "images" / target)
    names = ("--classes", "circle", "--classes=-star", "--classes=--cross")
    options = ("--dataset", "folder", "--data-dir", tmp_path / "images", "--epochs", 1)
    code, out, err = call("train", *SMALL, *options, *names)
    assert (code, err) == (0, "")
    assert Run.open(out.splitlines()[-1]).config.classes == ("circle", "-star", "--cross")


def test_an_empty_class_is_named_and_left_out(call, image_folder, tmp_path):
    shutil.copytree(image_folder / "train", tmp_path / "images")
    (tmp_path / "images" / "empty").mkdir()
    code, out, _ = call("train", *SMALL, "--dataset", "folder", "--data-dir", tmp_path / "images", "--epochs", 1)
    assert code == 0 and "Left out: empty: no images" in out.splitlines()


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


# The progress bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_thing_has_one_bar_from_its_beginning_to_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = ProgressBar()
    bar("Reading star", 0, 10)
    first = bar.bar
    bar("Reading star", 4, 10)
    bar("Reading star", 9, 12)
    assert bar.bar is first and (first.n, first.total) == (9, 12)
    bar("Reading circle", 1, 12)
    assert bar.bar is not first and bar.bar.n == 1
    bar.close()
    bar.close()
    assert bar.bar is None
    assert re.search("Reading star.*Reading circle", terminal.getvalue(), re.DOTALL)


def test_no_bar_is_drawn_into_a_pipe(capsys):
    bar = ProgressBar()
    for done in range(3):
        bar("Reading star", done, 3)
    bar.close()
    assert capsys.readouterr() == ("", "")
