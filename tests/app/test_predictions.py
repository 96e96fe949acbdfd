"""Predictions: the figures are those of the run, and filters choose what is shown."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from minivit.attention.methods import METHODS
from minivit.attention.metrics import mistakes_scale, ring_mass
from minivit.data import load_split
from minivit.figures import color_indices
from minivit.inference import calibration, predict_run
from minivit.runs import Run
from minivit.stats import auroc, wilson
from pages.parts.shell import cache
from tests.app.conftest import Open, button, charts, errors, galleries, unpacked, widget


@pytest.mark.parametrize("epoch", [0, 3])
def test_accuracy_and_recall_are_those_of_the_epoch(open_page: Open, trained: Run, epoch: int) -> None:
    page = open_page("predictions", run=trained.id, epoch=epoch)
    expected = predict_run(trained, epoch)
    low, high = wilson(int(expected.correct.sum()), len(expected.labels))
    assert page.metric[0].value == f"{expected.accuracy:.1%}"
    assert any(f"95% interval {low:.1%} to {high:.1%} (Wilson)" in caption.value for caption in page.caption)
    recall = page.dataframe[0].value["recall"] / 100
    assert recall.round(6).tolist() == [
        round(expected.correct[expected.labels == number].mean(), 6) for number in range(3)
    ]


def test_filters_choose_what_is_shown_and_come_from_the_link(open_page: Open, trained: Run) -> None:
    page = open_page("predictions", run=trained.id)
    expected = predict_run(trained)

    def grid_caption() -> str:
        return next(caption.value for caption in page.caption if "T: true class" in caption.value)

    assert grid_caption().startswith("18 of 18 images.")
    widget(page, "button_group", "True class").set_value("circle").run()
    assert grid_caption().startswith(f"{(expected.labels == 2).sum()} of ")
    widget(page, "button_group", "Result").set_value("incorrect").run()
    assert grid_caption().startswith(f"{((expected.labels == 2) & ~expected.correct).sum()} of ")
    again = open_page("predictions", run=trained.id, true="circle", result="incorrect")
    assert next(caption.value for caption in again.caption if "T: true class" in caption.value) == grid_caption()
    chips = widget(again, "button_group", "Predicted class").options
    counts = [(expected.predicted == k).sum() for k in range(3)]
    assert chips == [f"{name} {count}" for name, count in zip(trained.config.classes, counts, strict=True)]
    assert [part.value for part in again.header] == ["Images: incorrect\\, true class circle"]
    button(again, "Clear").click().run()
    assert not {"true", "result"} & set(again.query_params)


@pytest.mark.parametrize(
    ("params", "order"),
    [
        ({}, "index"),
        ({"result": "incorrect"}, "most confident"),
        ({"true": "star", "predicted": "cross"}, "most confident"),
        ({"true": "star", "predicted": "star"}, "index"),
        ({"result": "incorrect", "order": "index"}, "index"),
    ],
)
def test_mistakes_are_shown_most_confident_first_unless_another_order_is_chosen(
    open_page: Open, trained: Run, params: dict[str, str], order: str
) -> None:
    assert widget(open_page("predictions", run=trained.id, **params), "selectbox", "Sort by").value == order


def test_a_filter_that_nothing_fits_shows_no_image_and_no_error(open_page: Open, trained: Run) -> None:
    page = open_page("predictions", run=trained.id, true="star", predicted="cross", result="correct")
    assert any(caption.value.startswith("0 of 0 images.") for caption in page.caption)
    assert not errors(page)


def test_a_cell_of_mistakes_is_compared_with_correct_predictions_of_its_class(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, predictions = trained.config.classes, predict_run(trained, 1)
    # Every second one is incorrect
    changed = replace(predictions, predicted=(predictions.labels + np.arange(len(predictions.labels)) % 2) % 3)
    monkeypatch.setattr("pages.parts.shell.cache.predictions", lambda run, epoch: changed)
    true, mistaken = 0, 1
    page = open_page("predictions", run=trained.id, epoch=1, true=classes[true], predicted=classes[mistaken])
    (heatmap,), (_, reliability) = (chart.data for chart in charts(page))
    result = calibration(changed)
    np.testing.assert_allclose(reliability.y, result.accuracy)
    assert any(f"calibration error: {result.error:.1%}" in caption.value for caption in page.caption)
    images, model = load_split(trained.config)[1].images, trained.load_model(1)
    maps = METHODS["cls_map"].attribute(model, images)
    labels, predicted = torch.from_numpy(changed.labels), torch.from_numpy(changed.predicted)
    cells = [(labels == true) & (predicted == index) for index in (mistaken, true)]
    expected = maps[cells[0]].mean(0) - maps[cells[1]].mean(0)
    np.testing.assert_allclose(heatmap.z, expected.view(4, 4), atol=1e-6)
    assert heatmap.zmax == -heatmap.zmin == pytest.approx(mistakes_scale(maps, labels, predicted, 5), rel=1e-5)
    table = next(element.value for element in page.dataframe if "outer ring" in element.value)
    assert table["images"][0] == f"predicted {classes[mistaken]} ({changed.confusion[true, mistaken]})"
    assert table["outer ring"].iloc[-1] == 12 / 16 and table["middle"].iloc[-1] == 4 / 16
    for row, cell in enumerate(cells):
        mass = ring_mass(maps[cell])
        assert table["outer ring"][row] == pytest.approx(float(mass.ring.mean()), rel=1e-5)
        assert table["middle"][row] == pytest.approx(float(mass.middle.mean()), rel=1e-5)
    assert not errors(page)
    assert len(open_page("predictions", run=trained.id, epoch=1).get("plotly_chart")) == 1  # the reliability alone


def test_the_confidence_on_classes_that_the_run_never_saw_is_compared_with_that_on_its_own(
    open_page: Open, trained: Run
) -> None:
    page = open_page("predictions", run=trained.id, epoch=1)
    assert not any("AUROC" in caption.value for caption in page.caption)  # computed when it is opened
    page.session_state["predictions_unseen"] = True
    page.run()
    known, unseen = (np.array(bars.customdata)[:, 2] for bars in charts(page)[-1].data)
    calibration = cache.calibration(trained, 1)
    assert known.sum() == len(load_split(trained.config)[1]) and unseen.sum() == len(calibration.other_confidence)
    (caption,) = (caption.value for caption in page.caption if "AUROC" in caption.value)
    area, _, _ = auroc(calibration.known_confidence, calibration.other_confidence)
    assert f"AUROC {area:.2f} (" in caption and "All classes of the data set are this model's own" in caption
    share = (calibration.other_confidence >= 0.9).mean()
    assert any(f"confident in **{share:.1%} (" in element.value for element in page.markdown)


def test_the_images_on_the_page_have_the_map_of_their_cls_token_unless_the_model_is_large(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gallery,) = galleries(open_page("predictions", run=trained.id, epoch=1, order="least confident"))
    assert (gallery["columns"], gallery["rows"], len(gallery["titles"])) == (5, 4, 18)
    images = load_split(trained.config)[1].images[[title["index"] for title in gallery["titles"]]]
    expected = METHODS["cls_map"].attribute(trained.load_model(1), images).numpy()
    scale = cache.run_scale(trained)
    hover = gallery["hover"]
    assert (hover["scale"], hover["uniform"]) == (list(scale), 1 / 17)
    np.testing.assert_array_equal(unpacked(hover["maps"]), color_indices(expected, scale))
    monkeypatch.setattr("minivit.attention.maps.MAX_MULTIPLICATIONS", 1)
    assert galleries(open_page("predictions", run=trained.id))[0]["hover"] is None


def test_a_slow_model_whose_weights_are_damaged_is_an_error_and_no_endless_progress(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivit.background_predictions.MAX_MULTIPLICATIONS", 1)
    trained.checkpoint_path(2).write_bytes(b"damaged")
    page = open_page("predictions", run=trained.id, epoch=2)
    assert "does not contain the weights of this run's model" in errors(page)[0] and not page.get("progress")


def test_links_of_earlier_versions_filter_and_sort_as_they_did(open_page: Open, trained: Run) -> None:
    page = open_page("predictions", run=trained.id, answer="wrong", order="least sure")
    assert widget(page, "button_group", "Result").value == "incorrect"
    assert widget(page, "selectbox", "Sort by").value == "least confident"
    assert not errors(page)
