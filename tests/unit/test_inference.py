import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from minivit.config import TrainConfig, ViTConfig
from minivit.data import ImageSet, load_split
from minivit.engine import SILENT, train
from minivit.errors import DataError, RunError
from minivit.inference import (
    Predictions,
    as_float,
    calibration,
    logits,
    multiplications,
    precision_recall,
    precision_recall_intervals,
    predict,
    predict_run,
)
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import wilson

# Hypothesis must not fail on a busy machine.
any_pace = settings(suppress_health_check=[HealthCheck.too_slow])

# Six images of three classes; class 2 is never true, class 1 is never predicted.
LABELS = [0, 1, 0, 1, 0, 0]
PROBS = [[0.5, 0.1, 0.4], [0.6, 0.3, 0.1], [0.2, 0.1, 0.7], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.5, 0.2, 0.3]]


@pytest.fixture
def predictions() -> Predictions:
    return Predictions.from_logits(torch.tensor(PROBS).log(), torch.tensor(LABELS))


def test_the_multiplications_of_a_model_are_those_of_its_blocks():
    config = ViTConfig(patch_size=8, embed_dim=16, num_heads=2, depth=3, mlp_ratio=2)
    with FlopCounterMode(display=False) as counter:
        MiniViT(config)(torch.zeros(1, 3, 32, 32), return_attn=True)
    embedding, head = config.num_patches * 3 * 8**2 * 16, 16 * config.num_classes
    assert multiplications(config) == counter.get_total_flops() / 2 - embedding - head


def test_prediction_confidence_and_accuracy_are_those_of_the_most_probable_class(predictions):
    assert predictions.predicted.tolist() == [0, 0, 2, 2, 0, 0]
    assert predictions.confidence.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.5])
    assert predictions.correct.tolist() == [True, False, False, False, True, True]
    assert predictions.accuracy == 0.5


def test_confusion_has_a_row_per_true_and_a_column_per_predicted_class(predictions):
    assert predictions.confusion.tolist() == [[3, 0, 1], [1, 0, 1], [0, 0, 0]]


def test_precision_and_recall_are_nan_where_there_is_nothing_to_count(predictions):
    precision, recall = precision_recall(predictions.confusion)
    assert precision.tolist() == pytest.approx([3 / 4, math.nan, 0], nan_ok=True)
    assert recall.tolist() == pytest.approx([3 / 4, 0, math.nan], nan_ok=True)


def test_precision_and_recall_have_the_intervals_of_their_counts_and_none_where_there_is_nothing(predictions):
    precision, recall = precision_recall_intervals(predictions.confusion)
    assert precision == [wilson(3, 4), None, wilson(0, 2)]
    assert recall == [wilson(3, 4), wilson(0, 2), None]


@any_pace
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_confusion_counts_every_image_once_in_its_cell(pairs):
    labels, predicted = np.array(pairs).T
    predictions = Predictions(labels, predicted, np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.float32), 3)
    for true in range(3):
        for guess in range(3):
            assert predictions.confusion[true, guess] == pairs.count((true, guess))
    assert predictions.confusion.trace() / len(pairs) == pytest.approx(predictions.accuracy)


def test_select_returns_the_images_that_match_every_filter(predictions):
    assert predictions.select().tolist() == [0, 1, 2, 3, 4, 5]
    assert predictions.select(true=0).tolist() == [0, 2, 4, 5]
    assert predictions.select(predicted=2).tolist() == [2, 3]
    assert predictions.select(correct=False).tolist() == [1, 2, 3]
    assert predictions.select(correct=True, true=0).tolist() == [0, 4, 5]
    assert predictions.select(true=0, predicted=2, correct=False).tolist() == [2]
    assert predictions.select(true=2).tolist() == []
    assert predictions.select(true=1, order="most confident").tolist() == [3, 1]


def test_select_orders_by_confidence_or_loss_and_keeps_ties_in_order(predictions):
    assert predictions.select(order="most confident").tolist() == [4, 3, 2, 1, 0, 5]
    assert predictions.select(order="least confident").tolist() == [0, 5, 1, 2, 3, 4]
    assert predictions.select(order="highest loss").tolist() == [3, 2, 1, 0, 5, 4]
    assert predictions.select(correct=True, order="highest loss").tolist() == [0, 5, 4]


@any_pace
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 99).map(lambda percent: percent / 100)), max_size=20),
    st.sampled_from(["index", "most confident", "least confident", "highest loss"]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([None, True, False]),
)
def test_select_returns_every_matching_image_once_in_any_order(images, order, true, correct):
    labels = [label for label, _ in images]
    probs = torch.tensor([[share, 1 - share] for _, share in images]).reshape(-1, 2)
    predictions = Predictions.from_logits(probs.log(), torch.tensor(labels, dtype=torch.int64))
    selected = predictions.select(true=true, correct=correct, order=order).tolist()
    matching = [
        index
        for index in range(len(labels))
        if (true is None or labels[index] == true) and (correct is None or predictions.correct[index] == correct)
    ]
    assert sorted(selected) == matching


# With a model


@pytest.fixture
def model() -> MiniViT:
    torch.manual_seed(0)
    return MiniViT(ViTConfig(embed_dim=16, patch_size=8, num_classes=3, drop_rate=0.5))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (150, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_computing_logits_leaves_mode_weights_and_images_as_they_were(model, images, training):
    model.train(training)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = images.clone()
    first, second = logits(model, images), logits(model, images)
    assert torch.equal(first, second)  # no dropout
    assert not first.requires_grad
    assert {module.training for module in model.modules()} == {training}
    assert torch.equal(images, before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("num_images", [1, 63, 64, 65, 150])
def test_logits_do_not_depend_on_the_batches(model, images, num_images):
    model.eval()
    expected = model(images[:num_images].float() / 255)
    torch.testing.assert_close(logits(model, images[:num_images]), expected, atol=1e-5, rtol=1e-5)


def test_uint8_images_become_0_to_1():
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


def test_probabilities_and_losses_belong_to_their_images(model, images):
    labels = torch.arange(150) % 3
    predictions = predict(model, ImageSet(images, labels, ("a", "b", "c")))
    model.eval()
    for index in (0, 70, 149):
        probs = model(images[index : index + 1].float() / 255).softmax(1)[0].tolist()
        assert predictions.predicted[index] == np.argmax(probs)
        assert predictions.confidence[index] == pytest.approx(max(probs), abs=1e-5)
        assert predictions.loss[index] == pytest.approx(-math.log(probs[index % 3]), abs=1e-5)
    assert predictions.labels.tolist() == labels.tolist()


def test_a_run_predicts_its_test_images_at_any_kept_epoch(tiny: TrainConfig):
    run = Run.create(tiny)
    with pytest.raises(RunError, match="no checkpoints"):
        predict_run(run)
    train(tiny, run, SILENT)
    _, test_set = load_split(tiny)
    for row in run.metrics():
        predictions = predict_run(run, row["epoch"])
        assert predictions.labels.tolist() == test_set.labels.tolist()
        assert predictions.accuracy == row["test_acc"]
        assert predictions.loss.mean() == pytest.approx(row["test_loss"], abs=1e-5)
    assert np.array_equal(predict_run(run).loss, predictions.loss)  # the newest by default
    with pytest.raises(RunError, match="77"):
        predict_run(run, 77)


def test_a_missing_image_folder_is_named_in_the_error(tiny, image_folder, tmp_path):
    (tmp_path / "mine").symlink_to(image_folder)
    config = tiny.changed(dataset="folder", data_dir=str(tmp_path / "mine"), epochs=1)
    run = Run.create(config)
    train(config, run, SILENT)
    (tmp_path / "mine").unlink()
    with pytest.raises(DataError, match=f"no folder {tmp_path}/mine"):
        predict_run(run)


def test_calibration_compares_the_confidence_of_each_bin_with_its_accuracy():
    confidence = np.array([0.05, 0.31, 0.39, 0.95, 1.0, 0.99], np.float32)
    labels, predicted = np.array([0, 1, 1, 2, 2, 0]), np.array([1, 1, 0, 2, 2, 2])
    result = calibration(Predictions(labels, predicted, confidence, confidence, 3))
    np.testing.assert_allclose(result.confidence, [0.05, 0.35, 0.98], atol=1e-6)
    np.testing.assert_allclose(result.accuracy, [0, 0.5, 2 / 3])
    assert result.counts.tolist() == [1, 2, 3]
    assert result.error == pytest.approx((0.05 + 2 * 0.15 + 3 * (0.98 - 2 / 3)) / 6, abs=1e-6)
