"""The time that a training takes, measured while the form is open."""

from pathlib import Path
from threading import Event

import pytest

from minivit.config import TrainConfig, preset
from minivit.engine import estimate_seconds
from minivit.errors import TrainingError
from minivit.inference import num_parameters
from minivit.runs import Run, list_runs
from pages.parts.settings import form
from tests.app.conftest import Open, button, errors
from tests.app.train_form import START, on_folder, set_to


def test_size_and_measured_time_are_shown_before_the_start(
    open_page: Open, started: list[Run], monkeypatch: pytest.MonkeyPatch, image_folder: Path
) -> None:
    monkeypatch.setattr(form, "estimate_seconds", estimate_seconds)
    form._estimates.clear()
    page = on_folder(open_page("train"), image_folder)
    for depth in (1, 4):
        set_to(page, "depth", depth)
        page.run()
        model = preset("article").changed(classes=("star", "cross", "circle"), depth=depth).model
        facts = next(text.value for text in page.markdown if "parameters" in text.value)
        assert facts.startswith(f"**{num_parameters(model):,}** parameters · **72** training images · ≈ **")
    assert not started and not list_runs()


def test_the_page_does_not_wait_for_the_time_estimate(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, image_folder: Path
) -> None:
    known, requests = Event(), []

    def slow(config: TrainConfig, num_train: int, num_test: int) -> float:
        requests.append((config.model.depth, num_train, num_test))
        assert known.wait(60)
        return 7

    monkeypatch.setattr("pages.parts.settings.form.estimate_seconds", slow)
    monkeypatch.setattr("pages.parts.settings.form.WAIT_SECONDS", 0)
    page = on_folder(open_page("train"), image_folder)
    set_to(page, "depth", 5)
    page.run()
    assert any("timing a few steps" in text.value for text in page.markdown)
    assert not button(page, START).disabled
    known.set()
    monkeypatch.setattr("pages.parts.settings.form.WAIT_SECONDS", 60)
    page.run()
    assert any("≈ **7 s** on this machine" in text.value for text in page.markdown)
    assert requests.count((5, 72, 18)) == 1


def test_an_estimate_that_fails_is_reported_each_time(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, image_folder: Path
) -> None:
    def full(*_: object) -> float:
        raise TrainingError("There is too little memory. Choose a smaller batch.")

    monkeypatch.setattr("pages.parts.settings.form.estimate_seconds", full)
    page = on_folder(open_page("train"), image_folder)
    set_to(page, "depth", 6)
    assert errors(page.run()) == ["There is too little memory. Choose a smaller batch."]
    assert button(page, START).disabled
    monkeypatch.setattr("pages.parts.settings.form.estimate_seconds", lambda *_: 9)
    page.run()
    assert not errors(page) and not button(page, START).disabled
