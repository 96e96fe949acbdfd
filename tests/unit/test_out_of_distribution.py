"""Does a picture belong to any of the model's classes?"""

import numpy as np
import pytest

from minivit.config import preset
from minivit.out_of_distribution import ScoreCalibration, load_other_classes

KNOWN = np.arange(10, 109, dtype=np.float32)  # 99 scores


def test_a_score_below_those_of_all_test_images_belongs_to_no_class_if_other_images_score_as_low():
    verdict = ScoreCalibration(KNOWN, np.arange(0, 50, dtype=np.float32), ("a",)).judge(9.0)
    assert (verdict.p_value, verdict.other_share) == (0.01, 0.2)
    assert verdict.is_other


def test_a_model_that_cannot_separate_other_classes_rejects_no_picture():
    calibration = ScoreCalibration(KNOWN, KNOWN, ("a",))
    assert calibration.auroc == 0.5
    assert not any(calibration.judge(score).is_other for score in (5.0, 10.0, 12.0, 60.0, 200.0))


def test_the_area_under_the_roc_curve_counts_pairs_and_ties_by_half():
    known, other = np.float32([1, 2, 3]), np.float32([0, 2])
    assert ScoreCalibration(known, other, ("a",)).auroc == pytest.approx((3 + 1.5) / 6)


def test_other_classes_come_from_the_same_data_set_and_else_from_the_shapes(image_folder):
    config = preset("quick").changed(dataset="folder", data_dir=str(image_folder), classes=("star", "cross"))
    assert load_other_classes(config).classes == ("circle",)
    images = load_other_classes(config.changed(classes=("circle", "cross", "star")))
    assert "square" in images.classes and not set(images.classes) & set(config.classes)
