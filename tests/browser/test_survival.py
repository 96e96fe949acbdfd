"""Training belongs to nobody's browser and to no server: what goes on, what comes back, what a person can ask for."""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from minivit.config import TrainConfig, preset
from minivit.runs import Run
from tests.browser.conftest import Server, until, watched, worker_of


@pytest.fixture
def server_of_mine(new_server: Callable[..., Server]) -> Iterator[Server]:
    """A server of this test alone: it will be killed."""
    server = new_server()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(pictures: Path) -> TrainConfig:
    """A training that takes long enough to be interrupted."""
    return preset("article").changed(dataset="folder", data_dir=str(pictures), classes=("star", "circle"), epochs=3000)


def start_by_clicking(server: Server, config: TrainConfig, browser: Browser) -> Run:
    """Starts a training through the page of `server`, and closes the browser's page."""
    page = browser.new_page()
    with watched(page):
        server.open(page, "train")
        page.get_by_role("combobox", name="Data set").click()
        page.get_by_role("option", name="Images of a folder").click()
        page.get_by_role("textbox", name="Folder").fill(config.data_dir)
        page.keyboard.press("Enter")
        page.get_by_text("Training", exact=True).click()
        page.get_by_role("spinbutton", name="Epochs").first.fill(str(config.epochs))
        page.keyboard.press("Enter")
        expect(page.get_by_text(re.compile("parameters · 480 images"))).to_be_visible()
        before = len(server.all_runs())
        page.get_by_role("button", name="Train this model").click()
        until(lambda: len(server.all_runs()) > before, "the run begins")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        page.close()  # whatever comes now, no browser looks on
    return server.all_runs()[0]


def epochs_of(run: Run) -> list[int]:
    return [row["epoch"] for row in run.metrics()]


def test_training_goes_on_when_the_browser_is_closed_and_the_server_killed(
    server_of_mine: Server, new_server: Callable[..., Server], settings: TrainConfig, browser: Browser, page: Page
) -> None:
    run = start_by_clicking(server_of_mine, settings.changed(epochs=60), browser)
    until(lambda: len(run.metrics()) >= 2, "the first epoch")
    server_of_mine.kill()
    assert run.state.active
    until(lambda: run.state.phase == "done", "the worker finishes by itself", seconds=180)
    again = new_server(runs=server_of_mine.runs)
    again.start()
    again.open(page, "train", run=run.id)
    expect(page.get_by_text("epoch 60 of 60")).to_be_visible()
    assert epochs_of(run) == list(range(61))
    points = page.locator(".js-plotly-plot").first.evaluate(
        "chart => Array.from(chart.data.find(trace => trace.name === 'held-out').x)"
    )
    assert points == list(range(61))
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)


def test_pause_resume_and_stop_lose_no_epoch_and_repeat_none(
    server_of_mine: Server, settings: TrainConfig, browser: Browser, page: Page
) -> None:
    run = start_by_clicking(server_of_mine, settings, browser)
    server_of_mine.open(page, "train", run=run.id)
    until(lambda: len(run.metrics()) >= 3, "a few epochs")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert run.state.phase == "paused" and not run.worker_alive()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    done = len(run.metrics())
    until(lambda: len(run.metrics()) > done, "it goes on")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert run.state.phase == "stopped"
    assert epochs_of(run) == list(range(len(epochs_of(run)))) and len(epochs_of(run)) < 3000


def test_a_worker_that_was_killed_is_told_in_a_sentence_and_can_be_resumed(
    server_of_mine: Server, settings: TrainConfig, browser: Browser, page: Page
) -> None:
    run = start_by_clicking(server_of_mine, settings, browser)
    server_of_mine.open(page, "train", run=run.id)
    until(lambda: len(run.metrics()) >= 3, "a few epochs")
    os.kill(worker_of(run), signal.SIGKILL)
    expect(page.get_by_text(re.compile("The worker ended without a word after epoch"))).to_be_visible()
    kept = len(run.metrics())
    page.get_by_role("button", name="Resume").click()
    until(lambda: len(run.metrics()) > kept, "it goes on")
    run.ask("stop")
    until(lambda: run.state.phase == "stopped", "it stops")
    assert epochs_of(run) == list(range(len(epochs_of(run))))


def test_a_second_training_waits_in_the_queue_and_then_has_its_turn(
    server_of_mine: Server, settings: TrainConfig, browser: Browser, page: Page
) -> None:
    first = start_by_clicking(server_of_mine, settings, browser)
    until(lambda: first.state.phase == "training", "the first one trains")
    second = start_by_clicking(server_of_mine, settings, browser)
    assert second.id != first.id
    server_of_mine.open(page, "train", run=second.id)
    expect(page.get_by_text(re.compile("Waiting for another training on the cpu"))).to_be_visible()
    assert second.metrics() == []
    first.ask("stop")
    until(lambda: len(second.metrics()) >= 2, "the second one trains")
    second.ask("stop")
    until(lambda: second.state.phase == "stopped", "it stops")
    with contextlib.suppress(ProcessLookupError):
        assert worker_of(first) != worker_of(second) or not first.worker_alive()
