"""Home: one click starts a first run; the runs there are stand as cards."""

import shutil
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from minivit import data
from minivit.config import preset
from minivit.data import load_split
from minivit.errors import DataError
from minivit.runs import Run
from minivit.tour import example_run, read_highlights
from tests.app.conftest import Open, button, errors, labels, sent, unpacked


def card_links(page: AppTest) -> list[Any]:
    """The links below the ways on: those of the cards."""
    links = [link.proto for link in page.main.get("page_link")]
    labels = ["Take the tour", "Open your newest run", "Open the example run", "Try your own image"]
    assert [link.label for link in links[:4]] == labels
    return links[4:]


def test_home_opens_with_an_image_its_patches_and_attention_before_and_after_training(open_page: Open) -> None:
    page, run = open_page(), example_run()
    data = sent(page)
    maps, image = unpacked(data["maps"]), read_highlights().image
    assert data["checkpoints"] == ["untrained", *(f"epoch {epoch}" for epoch in run.epochs()[1:])]
    assert maps.shape == (len(run.epochs()), 64)
    assert maps[0].max() < 3 / 65 < 8 / 65 < maps[-1].max()  # nearly uniform, then not
    test_set = load_split(run.config)[1]
    assert np.array_equal(unpacked(data["image"]), test_set.images[image].permute(1, 2, 0).numpy())
    (sentence,) = [text.value for text in page.markdown if text.value.startswith("Untrained,")]
    assert test_set.classes[test_set.labels[image]] in sentence
    links = {link.proto.label: link.proto for link in page.main.get("page_link")}
    assert list(links) == ["Take the tour", "Open the example run", "Try your own image"]
    assert "tour=1" in links["Take the tour"].query_string
    assert links["Open the example run"].query_string == "run=example"


def test_one_click_trains_the_article_s_model_on_drawn_shapes(open_page: Open, started: list[Run]) -> None:
    page = open_page()
    assert any(text.value.startswith("None yet.") for text in page.markdown)
    button(page, "Train the article baseline on synthetic shapes").click().run()
    (run,) = started
    assert run.config.dataset == "shapes"
    assert run.config.model == preset("article").model
    assert page.query_params["run"] == run.id
    assert page.title[0].value == "Train"  # the click leads to its curves


def test_one_click_trains_the_article_s_experiment_where_cifar_10_is(
    open_page: Open, started: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "is_present", lambda *which: True)
    monkeypatch.setattr(data, "check", lambda config: None)
    page = open_page()
    assert not [label for label in labels(page) if "shapes" in label or "Download" in label]
    monkeypatch.setattr("pages.parts.runs.status.open_page", lambda page, run: None)  # its page would load CIFAR-10
    button(page, "Train the article baseline on CIFAR-10").click().run()
    assert [run.config for run in started] == [preset("article")]


def test_a_failed_download_lists_the_alternatives(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise DataError("CIFAR-10 cannot be downloaded. Choose 'shapes'.")

    page = open_page()
    monkeypatch.setattr(data, "download", download)
    button(page, "Download CIFAR-10 (170 MB)").click().run()
    assert errors(page) == ["CIFAR-10 cannot be downloaded. Choose 'shapes'."]
    assert button(page, "Train the article baseline on synthetic shapes")


def test_a_run_stands_as_a_card_with_its_state_accuracy_and_links(open_page: Open, trained: Run) -> None:
    page = open_page()
    accuracy = trained.metrics()[-1]["test_acc"]
    assert [metric.value for metric in page.metric] == [f"{accuracy:.1%}"]
    assert "epoch 3 of 3" in [caption.value for caption in page.caption]
    cards = card_links(page)
    assert [link.label for link in cards] == ["Curves", "Predictions", "Attention", "Compare"]
    assert {link.query_string for link in cards} == {f"run={trained.id}"}
    assert not any(text.value.startswith("None yet.") for text in page.markdown)


def test_the_newest_twelve_of_many_runs_are_shown(open_page: Open, trained: Run) -> None:
    for number in range(13):
        shutil.copytree(trained.path, trained.path.with_name(f"20200101-0000{number:02}-star"))
    page = open_page()
    assert len(page.metric) == 12
    links = card_links(page)
    assert links[0].query_string == f"run={trained.id}"
    assert links[-1].label == "All 14 runs"
    assert "run=20200101-000000-star" not in [link.query_string for link in links]


def test_a_sweep_stands_as_one_card_with_its_best_accuracy(open_page: Open, swept_runs: list[Run]) -> None:
    page = open_page()
    assert [text.value for text in page.text][1] == "sweep of lr, num_heads, 01 Jan 00:00:00"
    assert [metric.value for metric in page.metric][1:] == ["90.0%"]
    assert "3 runs" in [caption.value for caption in page.caption]
    links = {link.label: link.query_string for link in card_links(page)[4:]}
    sweep = "sweep=20200101-000000-lr-num_heads"
    assert links == {"Sweep": sweep, "Runs": sweep, "Best run": f"run={swept_runs[1].id}"}


def test_a_running_sweep_is_shown_as_running(
    open_page: Open, swept_runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: run.id == swept_runs[2].id)
    swept_runs[2].set_state("training", 1)
    badges = [text.value for text in open_page().markdown if "-badge[" in text.value]
    assert ["done" in badges[0], "training" in badges[1], len(badges)] == [True, True, 2]


def test_a_folder_that_is_no_run_is_passed_over(open_page: Open, trained: Run) -> None:
    broken = trained.path.with_name("broken")
    broken.mkdir()
    (broken / "config.json").write_text('{"schema_version": 1, "epochs": "many"}')
    assert len(open_page().metric) == 1
