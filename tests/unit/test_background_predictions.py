"""Predictions that take long are computed chunk by chunk, kept in the run's folder, and continued."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save

from minivit import background_predictions
from minivit.background_predictions import is_slow_to_predict, predict_and_save, prediction_path, predictions_so_far
from minivit.config import ViTConfig
from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.errors import RunError
from minivit.inference import predict_run
from minivit.runs import Run
from minivit.runs.checkpoint import load_tensors, serialize


@pytest.fixture
def run(tiny) -> Run:
    run = Run.create(tiny)
    train(tiny, run, SILENT)
    return run


@pytest.fixture
def split_images(run):
    return load_split(run.config)[1]


def test_kept_predictions_are_those_of_the_library_and_continue_after_an_interruption(run, split_images):
    chunks = iter([True, True, False])
    first = predict_and_save(run, 1, split_images, lambda: next(chunks))
    assert 0 < len(first) < len(split_images)
    kept, expected = predict_and_save(run, 1, split_images), predict_run(run, 1)
    assert np.array_equal(kept.loss[: len(first)], first.loss)
    assert np.array_equal(kept.labels, expected.labels) and np.array_equal(kept.predicted, expected.predicted)
    np.testing.assert_allclose(kept.confidence, expected.confidence, rtol=1e-4)
    np.testing.assert_allclose(kept.loss, expected.loss, rtol=1e-4, atol=1e-5)


def test_predictions_of_other_weights_or_other_images_do_not_count(run, split_images):
    predict_and_save(run, 1, split_images)
    path = prediction_path(run, 2)
    path.write_bytes(prediction_path(run, 1).read_bytes())
    assert not len(predictions_so_far(run, 2, split_images))
    brighter = split_images.select(range(len(split_images)))
    brighter.images.add_(1)
    assert not len(predictions_so_far(run, 1, brighter))


@pytest.mark.parametrize(
    "change",
    [
        {"predicted": torch.full((24,), 2)},
        {"predicted": torch.full((24,), -1)},
        {"predicted": torch.zeros(24)},
        {"predicted": torch.zeros(24, 1, dtype=torch.int64)},
        {"predicted": torch.tensor(1)},
        {"confidence": torch.ones(5)},
        *({"confidence": torch.full((24,), value)} for value in (float("nan"), -0.1, 1e9)),
        {"loss": torch.full((24,), float("inf"))},
        {"predicted": torch.zeros(25, dtype=torch.int64), "confidence": torch.zeros(25), "loss": torch.zeros(25)},
    ],
)
def test_a_file_with_impossible_predictions_is_computed_again(run, split_images, change):
    expected = predict_and_save(run, 1, split_images)
    path = prediction_path(run, 1)
    tensors, metadata = load_tensors(path)
    path.write_bytes(serialize(tensors | change, metadata))
    assert not len(predictions_so_far(run, 1, split_images))
    assert np.array_equal(predict_and_save(run, 1, split_images).predicted, expected.predicted)


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_the_file_is_not_read_and_is_replaced(run, split_images):
    path = prediction_path(run, 1)
    path.parent.mkdir()
    os.mkfifo(path)
    assert not len(predictions_so_far(run, 1, split_images))
    assert len(predict_and_save(run, 1, split_images)) == len(split_images)


def test_a_folder_or_weights_that_are_not_there_are_named(run, split_images):
    folder = prediction_path(run, 1).parent
    folder.write_text("x")
    for function in (lambda: predict_and_save(run, 1, split_images), lambda: background_predictions.watch(run, 1)):
        with pytest.raises(RunError, match=f"{folder} cannot be written: File exists. Rename or delete the file"):
            function()
    run.checkpoint_path(1).unlink()
    with pytest.raises(RunError, match=r"epoch-0001\.safetensors cannot be read"):
        predictions_so_far(run, 1, split_images)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"predicted,confidence,loss\n", save({"loss": torch.ones(2)})])
def test_a_damaged_file_is_computed_again(run, split_images, content):
    path = prediction_path(run, 1)
    path.parent.mkdir()
    path.write_bytes(content)
    assert not len(predictions_so_far(run, 1, split_images))
    assert len(predict_and_save(run, 1, split_images)) == len(split_images)


def test_only_large_models_and_sets_take_long():
    base = ViTConfig(img_size=224, patch_size=16, embed_dim=768, depth=12, num_heads=12, norm="pre")
    assert is_slow_to_predict(base, 48) and not is_slow_to_predict(base, 4)
    assert not is_slow_to_predict(ViTConfig(), 10_000)


def test_a_process_without_viewers_ends(run, monkeypatch):
    assert not background_predictions.is_watched(run, 1)
    background_predictions.watch(run, 1)
    assert background_predictions.is_watched(run, 1)
    monkeypatch.setattr(background_predictions, "WATCH_SECONDS", 0)
    assert not background_predictions.is_watched(run, 1)
