"""Rows of metrics, weights and log lines of a run folder that cannot be read or written."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from trainings import keep, write
from trainings import metrics_row as row

from minivit.errors import RunError
from minivit.model import MiniViT
from minivit.runs import find_damage

# Metrics and log


def test_an_incomplete_last_row_is_skipped(run):
    run.append_metrics(row(0))
    run.append_metrics(row(1))
    content = (run.path / "metrics.jsonl").read_bytes()
    for cut in range(len(content)):
        (run.path / "metrics.jsonl").write_bytes(content[:cut])
        assert [values["epoch"] for values in run.metrics()] == list(range(content[:cut].count(b"\n")))


def test_a_row_after_an_incomplete_one_is_kept(run):
    run.append_metrics(row(0))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "test_l')
    run.append_metrics(row(1, test_loss=0.5))
    run.append_metrics(row(2))
    assert run.metrics() == [row(0), row(1, test_loss=0.5), row(2)]


def test_the_later_of_two_rows_of_an_epoch_counts(run):
    for values in (
        row(0, lr=1),
        row(1, lr=1),
        row(2, lr=1),
        row(1, lr=2),
        row(2, lr=2),
    ):
        run.append_metrics(values)
    assert run.metrics() == [row(0, lr=1), row(1, lr=2), row(2, lr=2)]


def test_lines_that_are_not_rows_are_skipped_and_counted(run):
    invalid = [
        {},
        {"epoch": 1},
        [],
        7,
        None,
        row("1"),
        row(1.5),
        row(-1),
        row(10**30),
        row(True),
        row(1, test_acc=1.5),
    ]
    invalid += [row(1, test_loss=value) for value in (None, "x", [1], {}, 1e300, -1)]
    lines = [json.dumps(value) for value in (row(0), *invalid, row(2))]
    lines += [json.dumps(row(1, lr=value)) for value in (float("nan"), float("inf"))] + ["[" * 200_000, "\x00"]
    write(run, "metrics.jsonl", "\n".join(lines) + "\n")
    assert run.metrics() == [row(0), row(2)]
    assert find_damage(run) == [
        f"Invalid lines of metrics.jsonl, which are left out: {len(invalid) + 4}.",
        "metrics.jsonl has rows of 2 of 3 epochs.",
    ]


def test_a_row_in_which_a_digit_has_changed_is_left_out(run):
    for index in range(2):
        run.append_metrics(row(index))
    path = run.path / "metrics.jsonl"
    path.write_text(path.read_text().replace('"epoch": 1, "train_loss": 0.25', '"epoch": 1, "train_loss": 0.26'))
    assert run.metrics() == [row(0)]
    assert find_damage(run)[0] == "Invalid lines of metrics.jsonl, which are left out: 1."


def test_missing_rows_and_weights_that_are_cut_off_are_named(run):
    assert not find_damage(run, weights=True)
    keep(run, 0, 1)
    run.save_resume({"sums": torch.zeros(2)}, {})
    run.set_state("stopped", 1)
    assert find_damage(run, weights=True) == ["metrics.jsonl has rows of 0 of 2 epochs."]
    for index in range(2):
        run.append_metrics(row(index))
    assert not find_damage(run, weights=True)
    names = ["resume.safetensors", "checkpoints/epoch-0001.safetensors"]
    for name in names:
        (run.path / name).write_bytes((run.path / name).read_bytes()[:-1])
    assert find_damage(run, weights=True) == [f"{name} cannot be read." for name in names]


@pytest.mark.parametrize("name", ["state.json", "environment.json", "control.json"])
@pytest.mark.parametrize("content", ["", "{", "[" * 200_000, "[]", '{"phase": 3, "head_classes": 0}', "pipe", "folder"])
def test_a_file_that_cannot_be_read_is_named(run, name, content):
    (run.path / name).unlink(missing_ok=True)
    if content == "pipe":
        os.mkfifo(run.path / name)
    elif content == "folder":
        (run.path / name).mkdir()
    else:
        write(run, name, content)
    assert find_damage(run) == [f"{name} cannot be read."]
    assert run.environment == {} and run.state.phase in ("queued", "failed")


def test_a_clock_that_is_set_back_leaves_no_run_queued_forever(run):
    write(run, "state.json", json.dumps({"phase": "queued", "updated": time.time() + 3600}))
    assert run.state.phase == "failed"
    run.delete()
    assert not run.path.exists()


def test_weights_that_are_no_numbers_are_named_and_give_no_predictions(run):
    model = MiniViT(run.config.model)
    model.head.bias.data[1] = float("nan")
    run.save_checkpoint(model, 0)
    with pytest.raises(RunError, match=r"NaN or infinite weights, in head\.bias"):
        run.load_model(0)


def test_two_concurrent_deletions_of_a_run_leave_nothing_and_raise_nothing(run, monkeypatch):
    run.set_state("done")
    rename = Path.rename

    def faster(path, target):
        rename(path, path.with_name(".elsewhere"))
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", faster)
        run.delete()
    assert not run.path.exists()


def test_metrics_that_cannot_be_written_raise_an_error_with_the_path(run):
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=f"{run.path}/metrics.jsonl cannot be written"):
        run.append_metrics(row(0))


def test_the_log_is_its_last_complete_lines(run):
    assert run.log() == ""
    write(run, "log.txt", "one\ntwo\nthree\nhal")
    assert run.log() == "one\ntwo\nthree"
    assert run.log(2) == "two\nthree"
