"""The command line, once as a real process and then in this one; folders of real PNG files."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from yardstick import article

from minivit.cli import main
from minivit.config import preset, settings
from minivit.engine import Events, train
from minivit.processes import PROJECT
from minivit.runs import Run, list_runs
from tests.unit.cli.conftest import CLASSES, SMALL, train_command


def files_of(folder: Path, part: str) -> list[tuple[int, torch.Tensor]]:
    """Label and image (1, 3, 32, 32) 0..1 of every file, read without MiniViT, in the order of the data set."""
    images = []
    for name in sorted(CLASSES):
        for path in sorted((folder / part / name).iterdir()):
            pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255
            images.append((CLASSES.index(name), torch.from_numpy(pixels).permute(2, 0, 1)[None]))
    return images


# Train


def test_training_prints_a_line_per_epoch_and_the_run_folder_last_and_imports_only_what_it_needs(
    image_folder, tmp_path
):
    """As a process of its own, without the variables of this one's environment."""
    command = [sys.executable, "-X", "importtime", "-m", "minivit", *train_command(image_folder, tmp_path / "runs")]
    folders = {name: str(tmp_path / name) for name in ("HOME", "MINIVIT_DATA", "MINIVIT_LOCKS")}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = {"PATH": "/usr/bin:/bin", **folders}
    process = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert "90 training and 30 test images" in lines[0]
    epochs = [line for line in lines[1:-1] if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 0 (untrained)", "epoch 1", "epoch 2", "epoch 3"]
    assert [line.split(":")[0] for line in lines[1:-1] if line not in epochs] == ["The step is not compiled"]
    (run,) = list_runs(tmp_path / "runs")
    for line, row in zip(epochs, run.metrics(), strict=True):
        assert f"accuracy {row['test_acc']:.4f}" in line and f"test loss {row['test_loss']:.4f}" in line
    assert Path(lines[-1]) == run.path and run.state.phase == "done"
    assert run.environment["command"][1:3] == ["train", "--patch-size"]
    imports, others = (
        [line for line in process.stderr.splitlines() if line.startswith("import time:") is is_import]
        for is_import in (True, False)
    )
    assert others == []
    modules = {line.rpartition("|")[2].strip() for line in imports}
    assert "minivit.engine.loop" in modules
    assert not modules & {"plotly", "jinja2", "torch._dynamo", "torchvision", "minivit.attention", "minivit.sweep"}


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
    (line,) = call("runs", "--search", "accuracy>=0", "--runs-dir", tmp_path)[1].splitlines()
    assert line.endswith(trained.id)
    header, line = call("runs", waiting.id, "--csv", "--runs-dir", tmp_path)[1].splitlines()
    assert header.startswith("id,") and line.startswith(waiting.id)


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
        num_correct = int(counts.trace())
        low, high = article.wilson(num_correct, 30)
        assert first == f"accuracy {num_correct / 30:.4f} ({num_correct} of 30; 95% interval {low:.4f} to {high:.4f})"
        assert header.split() == [*CLASSES, "recall"]
        for label, name in enumerate(CLASSES):
            row_name, *numbers, recall = rows[label].split()
            assert row_name == name and list(map(int, numbers)) == counts[label].tolist()
            assert float(recall) == pytest.approx(counts[label, label] / 10, abs=5e-4)
        for precision, correct, total in zip(last.split()[1:], counts.diagonal(), counts.sum(0), strict=True):
            assert precision == (f"{correct / total:.3f}" if total else "–")


def test_prediction_of_files_prints_path_class_and_probability_and_names_unreadable_ones(
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


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_a_console_that_lacks_a_letter_prints_a_mark_in_its_place(monkeypatch, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stderr", console)
    assert main(["create", "--dataset", "shapes", "--classes", "circle", "ö漢"]) == 2
    assert b"?" in console.buffer.getvalue()


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
