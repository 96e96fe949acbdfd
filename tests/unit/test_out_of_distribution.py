"""Does a picture belong to any of the model's classes?"""

import numpy as np

from minivit.config import preset
from minivit.data import load_split
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.out_of_distribution import ScoreCalibration, calibrate, has_other_classes, load_other_classes

KNOWN = np.arange(10, 109, dtype=np.float32)  # 99 scores


def test_a_score_below_those_of_all_test_images_belongs_to_no_class_if_other_images_score_as_low():
    verdict = ScoreCalibration(KNOWN, np.arange(0, 50, dtype=np.float32), ("a",), KNOWN, KNOWN).judge(9.0)
    assert (verdict.p_value, verdict.other_share) == (0.01, 0.2)
    assert verdict.is_other


def test_a_model_that_cannot_separate_other_classes_rejects_no_picture():
    calibration = ScoreCalibration(KNOWN, KNOWN, ("a",), KNOWN, KNOWN)
    assert calibration.auroc == 0.5
    assert not any(calibration.judge(score).is_other for score in (5.0, 10.0, 12.0, 60.0, 200.0))


def test_scores_and_confidences_are_those_of_the_test_images_and_of_the_other_classes(tiny):
    model, (_, test_set) = MiniViT(tiny.model), load_split(tiny)
    other = load_other_classes(tiny)
    result = calibrate(model, test_set, other)
    theirs = logits(model, other.images)
    assert has_other_classes(tiny) and result.other_classes == other.classes
    np.testing.assert_allclose(result.other, theirs.amax(1).numpy(), atol=1e-5)
    assert len(result.known) == len(result.known_confidence) == len(test_set)
    np.testing.assert_allclose(result.other_confidence, theirs.softmax(1).amax(1).numpy(), atol=1e-6)


def test_other_classes_come_from_the_same_data_set_and_else_from_the_shapes(image_folder):
    config = preset("quick").changed(dataset="folder", data_dir=str(image_folder), classes=("star", "cross"))
    assert load_other_classes(config).classes == ("circle",)
    images = load_other_classes(config.changed(classes=("circle", "cross", "star")))
    assert not has_other_classes(config.changed(classes=("circle", "cross", "star")))
    assert "square" in images.classes and not set(images.classes) & set(config.classes)
