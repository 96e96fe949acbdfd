"""Attention: sinks and features of one image, on request."""

from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from minivit.attention.tokens import (
    TokenStatistics,
    cosine_similarity,
    patch_components,
    sinks,
    token_features,
    token_statistics,
)
from minivit.config import ViTConfig
from minivit.data import load_split
from minivit.data.image_set import evenly_spaced
from minivit.engine import SILENT, train
from minivit.runs import Run
from pages.parts.attention.tokens import finding
from tests.app.conftest import Open, captions, components, errors, unpacked, widget


def tiles(page: AppTest, label: str) -> dict[str, list[dict[str, Any]]]:
    """The tiles of one component by the names of their rows."""
    (data,) = (data for data in components(page) if data.get("label") == label)
    return {row["name"]: row["tiles"] for row in data["rows"]}


def maps(row: list[dict[str, Any]]) -> np.ndarray:
    """The values of a row's tiles, its picture left out."""
    return np.stack([unpacked(tile["pixels"]) for tile in row if tile["name"] != "image" and tile["name"][0] != "p"])


def test_sinks_and_features_are_those_of_the_image_and_the_selected_patch(open_page: Open, trained: Run) -> None:
    config = trained.config.changed(norm="pre", num_registers=2, epochs=1)
    run = Run.create(config)
    train(config, run, SILENT)
    page = open_page("attention", run=run.id, image=5)
    assert "Which patches are alike?" not in [part.value for part in page.subheader]
    page = open_page("attention", run=run.id, image=5, layer=1, head=2, token="p3", other=7, tokens="true")
    assert not errors(page)
    model, images = run.load_model(), load_split(config)[1].images
    statistics = token_statistics(model, images[5:6])
    expected = sinks(statistics, 1, 16)
    assert finding(expected, config.model) in [part.value for part in page.markdown]
    received = maps(tiles(page, "Attention received")["attention received"])
    np.testing.assert_allclose(received, expected.received[:, 3:].view(2, 4, 4), atol=1e-6)
    table = page.dataframe[0].value
    top = expected.top_patch(0)
    rows = [3 + top, *([6] if top != 3 else []), 0, 1, 2]
    assert list(table["token"])[-3:] == ["CLS", "Register 1", "Register 2"]
    np.testing.assert_allclose(table["value norm"], expected.value_norms[0, rows], rtol=1e-5)

    rows_by_name = tiles(page, "Similarity of features")
    features = token_features(model, images[[5, 7]])[:, :, 3:]
    for name, patches in {"this image": features[0], "image 7": features[1]}.items():
        cosines = cosine_similarity(features[0, :, 3], patches)
        np.testing.assert_allclose(maps(rows_by_name[name]), cosines.view(3, 4, 4), atol=1e-5)
    over_training = rows_by_name["layer 1 over training"]
    assert [tile["name"] for tile in over_training] == ["epoch 0", "epoch 1"]
    np.testing.assert_allclose(
        maps(over_training)[1], cosine_similarity(features[0, 1, 3], features[0, 1]).view(4, 4), atol=1e-5
    )
    components = patch_components(model, images[evenly_spaced(len(images), 32)])
    alone = patch_components(model, images[5:6])
    by_name = tiles(page, "Principal components")
    assert np.array_equal(maps(by_name["image 7"]), components.colors(features[1]).view(3, 4, 4, 3))
    assert np.array_equal(maps(by_name["this image alone"]), alone.colors(features[0]).view(3, 4, 4, 3))


def test_by_default_the_most_attended_patch_is_compared_with_the_next_image_of_the_class(
    open_page: Open, trained: Run
) -> None:
    page = open_page("attention", run=trained.id, image=5, tokens="true")
    test_set = load_split(trained.config)[1]
    result = sinks(token_statistics(trained.load_model(), test_set.images[5:6]), "mean", 16)
    top = f"p{result.top_patch(1)}, the most attended patch of layer 2"
    assert f"CLS is selected above, so this is for {top}." in captions(page)
    following = next(image for image in range(6, len(test_set)) if test_set.labels[image] == test_set.labels[5])
    assert widget(page, "number_input", "Compare with test image").value == following


@pytest.mark.parametrize(
    ("value", "sentences"),
    [
        (
            0.1,
            "**Layer 1: p5 receives 14.0× the median attention (78% of all) and its value is 0.1× the median norm: it "
            "behaves like a sink.** 2 of 16 patches do in some layer. Register 1 behaves like one in layer 1.",
        ),
        (
            1.0,
            "**No patch behaves like a sink.** The most attended, in layer 1: p5 receives 14.0× the median attention "
            "(78% of all) and its value is 1.0× the median norm, so its content is passed on.",
        ),
    ],
)
def test_the_finding_names_the_strongest_sink_or_says_that_there_is_none(value: float, sentences: str) -> None:
    config = ViTConfig(patch_size=8, num_registers=1)
    received, values = torch.ones(1, 1, 18), torch.ones(1, 1, 18)
    received[..., [1, 4, 7]] = torch.tensor([20.0, 6, 14])  # the register, p2 and p5
    values[..., [1, 4, 7]] = value
    result = sinks(TokenStatistics(received, values, torch.ones(2, 18, 4)), "mean", 16)
    assert finding(result, config) == sentences
