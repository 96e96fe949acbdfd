"""A checkpoint's text, title, file name and content, and runs as keys of a cache."""

import pytest
import torch

from minivit.runs import Checkpoint, Run
from minivit.runs.checkpoint import read_safetensors, serialize


@pytest.mark.parametrize(
    ("checkpoint", "text", "title", "file_name"),
    [
        (Checkpoint(0), "0", "untrained", "epoch-0000.safetensors"),
        (Checkpoint(0, 4), "0.4", "epoch 0, step 4", "epoch-0000-step-00004.safetensors"),
        (Checkpoint(12), "12", "epoch 12", "epoch-0012.safetensors"),
        (Checkpoint(123456), "123456", "epoch 123456", "epoch-123456.safetensors"),
    ],
)
def test_a_checkpoint_has_one_text_one_title_and_one_file_name(run, checkpoint, text, title, file_name):
    assert (str(checkpoint), run.checkpoint_title(checkpoint), checkpoint.file_name) == (text, title, file_name)
    assert Checkpoint.from_file_name(file_name) == checkpoint


def test_checkpoints_sort_in_order_of_training_and_an_epoch_stands_for_its_checkpoint():
    checkpoints = [Checkpoint(0), Checkpoint(0, 1), Checkpoint(0, 16), Checkpoint(1), Checkpoint(10)]
    assert sorted(reversed(checkpoints)) == checkpoints
    assert Checkpoint.of(10) == Checkpoint.of(Checkpoint(10)) == Checkpoint(10)


def test_two_readers_of_one_folder_are_the_same_key(run, tiny, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(run.path)
    monkeypatch.chdir(run.path.parent)
    assert {run, Run.open(tmp_path / "link"), Run.open(run.id)} == {run}
    assert Run.create(tiny) != run


def test_a_run_whose_model_has_other_settings_now_is_another_key(run):
    before = Run.open(run.path)
    run.set_config(run.config.changed(patch_size=4))  # as if config.json lost its patch size
    assert Run.open(run.path) not in {before}


def test_weights_are_read_from_a_folder_whose_name_is_not_utf8_as_in_a_locale_such_as_cp1252(tmp_path):
    path = tmp_path / "l\udce4ufe" / "a.safetensors"  # the byte E4
    path.parent.mkdir()
    path.write_bytes(serialize({"a": torch.arange(3)}, {"epoch": "1"}))
    tensors, metadata = read_safetensors(path)
    assert tensors["a"].tolist() == [0, 1, 2] and metadata == {"epoch": "1"}


def test_epoch_0_of_a_run_from_other_weights_is_not_called_untrained(run):
    assert not run.config.start_note
    run.set_config(run.config.changed(init_from="20260102-101112-cat-dog:20"))
    assert run.checkpoint_title(0) == "initial weights" and run.checkpoint_title(Checkpoint(0, 1)) == "epoch 0, step 1"
    assert "20260102-101112-cat-dog after epoch 20" in run.config.start_note
