"""Files and checkpoints around the weights of a model; what is not weights is refused by name."""

import argparse
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minivit.errors import RunError
from minivit.imports import import_model
from minivit.imports.convert import to_timm_names
from minivit.imports.state_dict import read_state_dict


def test_sharded_weights_are_read_and_a_missing_part_is_named(hugging_face_vit, image_folder, tmp_path):
    model, folder = hugging_face_vit
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    parts = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(parts) > 1
    whole, _ = read_state_dict(folder)
    assert all(torch.equal(value, whole[name]) for name, value in read_state_dict(tmp_path / "sharded")[0].items())
    parts[1].unlink()
    with pytest.raises(RunError, match=rf"lacks {parts[1].name}"):
        import_model(tmp_path / "sharded", image_folder)


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: state, "_orig_mod."),
        (lambda state: state, "module._orig_mod.model."),
        (lambda state: {"state_dict": state, "epoch": 3}, "backbone."),
        (lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)}, ""),
        (lambda state: {"model": {"x": torch.zeros(1)}, "model_ema": state}, "encoder."),
        (lambda state: {"teacher": {"state_dict": state}, "optimizer": {"lr": 1}}, "module."),
        (lambda state: {"checkpoint": {"model": {"module": state}}}, "net."),
        (lambda state: {"vit": state, "log": defaultdict(list, loss=[0.1])}, ""),
        (lambda state: {"model": state, "best_acc": np.float64(0.5), "args": argparse.Namespace(dir=Path("/x"))}, ""),
        (lambda state: {"model": damaged(state), "model_ema": state | {"n_averaged": torch.tensor(3)}}, "module."),
        (lambda state: {"state_dict": damaged(state), "ema": {"decay": 0.9, "shadow": state}}, ""),
        (lambda state: {"state_dict": state, "ema": {"decay": torch.tensor(0.9)}}, ""),
        (lambda state: {"params": damaged(state), "params_ema": state}, ""),
        (lambda state: state | {"criterion.weight": torch.ones(3), "train_acc.tp": torch.zeros(3)}, "model."),
        (lambda state: renamed(damaged(state), "model.", "") | renamed(state, "model.", "ema_model."), "model."),
        (lambda state: renamed(damaged(state), "teacher.", "student.") | state, "teacher."),
        (lambda state: {"teacher": state | {"dino_head.mlp.0.weight": torch.ones(3)}}, "backbone."),
        (lambda state: state | {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}, ""),
    ],
    ids=[
        *("compiled", "several prefixes", "epoch beside", "arguments beside", "averaged weights", "nested twice"),
        *("nested deep", "unusual key", "numbers and paths beside", "AveragedModel", "shadow weights", "decay alone"),
        *("averaged parameters", "loss and metrics beside", "averaged beside", "student and teacher", "DINOv2's heads"),
        "normalization beside",
    ],
)
def test_wrappers_and_prefixes_are_removed(hugging_face_vit, tmp_path, wrap, prefix):
    whole, _ = read_state_dict(hugging_face_vit[1])
    torch.save(wrap({prefix + name: value for name, value in whole.items()}), tmp_path / "model.pth")
    tensors, _ = read_state_dict(tmp_path / "model.pth")
    assert tensors.keys() == whole.keys() and all(torch.equal(tensors[name], whole[name]) for name in whole)


def damaged(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other weights of the same model, which are not the ones to import."""
    return {name: value + 1 for name, value in state.items()}


def renamed(state: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    return {new + name.removeprefix(old): value for name, value in state.items()}


def test_what_a_checkpoint_has_beside_its_vit_is_named(hugging_face_vit, image_folder, tmp_path):
    whole, _ = read_state_dict(hugging_face_vit[1])
    torch.save(renamed(whole, "", "net.") | {"criterion.weight": torch.ones(3)}, tmp_path / "model.ckpt")
    run = import_model(tmp_path / "model.ckpt", image_folder)
    assert run.environment["assumed"][-1] == "Left out, as not part of the ViT: criterion."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"\xef\xbb\xbf<!-- x --><html>", "is a web page"),
        (b"{}", "contains no weights|is empty, cut off or damaged"),
        (b"", "contains no weights|is empty, cut off or damaged"),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_what_a_failed_download_leaves_is_named(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=words):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("name", ["vit.pth", "vit.SAFETENSORS", "vit.safetensors"])
def test_a_file_is_recognized_by_its_content(hugging_face_vit, tmp_path, name):
    whole, _ = read_state_dict(hugging_face_vit[1])
    if name == "vit.safetensors":
        torch.save(whole, tmp_path / name)
    else:
        shutil.copy(hugging_face_vit[1] / "model.safetensors", tmp_path / name)
    assert read_state_dict(tmp_path / name)[0].keys() == whole.keys()


def test_quantized_weights_are_refused(hugging_face_vit, tmp_path):
    weights, _ = read_state_dict(hugging_face_vit[1])
    save_file({name: (100 * value).to(torch.int8) for name, value in weights.items()}, tmp_path / "x.safetensors")
    with pytest.raises(RunError, match="as int8, perhaps quantized"):
        read_state_dict(tmp_path / "x.safetensors")


def test_blocks_in_chunks_of_dinov2s_training_are_joined():
    chunked = {f"blocks.0.{number}.norm1.weight": torch.ones(4) for number in range(3)}
    assert list(to_timm_names(chunked)) == [f"blocks.{number}.norm1.weight" for number in range(3)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(hugging_face_vit, tmp_path, value):
    weights, _ = read_state_dict(hugging_face_vit[1])
    weights["layernorm.weight"][3] = value
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(RunError, match=r"NaN or infinite values, in layernorm\.weight"):
        read_state_dict(tmp_path / "x.safetensors")


def test_a_pipe_is_no_file_of_weights(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(RunError, match="not a regular file"):
        read_state_dict(tmp_path / "pipe.safetensors")
