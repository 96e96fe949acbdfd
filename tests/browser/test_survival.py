"""Training belongs to nobody's browser and to no server: what goes on, what comes back, what a person can ask for."""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, expect

from minivit.machine import num_cores
from minivit.runs import Run
from tests.browser.browsing import choose, settle
from tests.browser.server import Server, until, worker_of
from tests.browser.test_journey import loss_curve, points

ENDLESS = 10_000  # epochs: no test waits for the last, so that none races the training


@pytest.fixture(scope="module")
def machine(new_server: Callable[..., Server]) -> Server:
    """A server for trainings that come one after the other."""
    server = new_server()
    server.start()
    return server


def start(page: Page, server: Server, pictures: Path, epochs: int, threads: int = 0) -> Run:
    """A training started by hand, on `page`; one with as many threads as cores leaves none for another."""
    server.open(page, "train")
    page.get_by_text("More settings", exact=True).click()
    choose(page, "Data set", "Your own images (folder)")  # which leaves them open

    def fill(kind: Literal["textbox", "spinbutton", "combobox"], name: str, value: object) -> None:
        box = page.get_by_role(kind, name=name).first
        box.fill(str(value))
        box.press("Enter")
        settle(page)

    fill("textbox", "Folder", pictures)
    fill("spinbutton", "Epochs", epochs)
    fill("combobox", "torch.compile", "off")  # compiling takes as long as thousands of these epochs
    if threads:
        fill("spinbutton", "CPU threads", threads)
    older = page.url
    page.get_by_role("button", name="Start training").click()
    expect(page).not_to_have_url(older)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    run = server.all_runs()[0]
    expect(page).to_have_url(re.compile(f"run={run.id}$"))
    return run


def epochs_of(run: Run) -> list[int]:
    """The epochs as they stand in the file, row by row."""
    rows = (run.path / "metrics.jsonl").read_text().splitlines() if (run.path / "metrics.jsonl").exists() else []
    return [int(re.findall(r'"epoch": (\d+)', row)[0]) for row in rows]


def last_epoch(page: Page) -> Locator:
    """The curve's last epoch, as it is read out."""
    return page.get_by_role("slider", name="loss by epoch")


def zoom(page: Page, plot: Locator) -> list[float]:
    """Zooms a chart by dragging, as a person does; the epochs that it shows then."""
    box = plot.locator(".nsewdrag").bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    return shown_epochs(plot)


def shown_epochs(plot: Locator) -> list[float]:
    """The ends of the horizontal axis."""
    return plot.evaluate("(plot) => plot._fullLayout.xaxis.range")


def test_a_training_is_watched_killed_resumed_and_paused_and_loses_no_epoch(
    page: Page, machine: Server, pictures: Path
) -> None:
    """One training, for starting one takes long: each part begins where the one before has left it."""
    run = start(page, machine, pictures, epochs=ENDLESS)
    zoomed = curves_grow_and_a_zoom_holds(page)
    a_killed_worker_is_told_in_a_sentence(page, run)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_text("Resume continues from here.")).to_be_visible()
    assert run.state.phase == "paused"
    until(lambda: not run.is_worker_alive(), "the worker ends")
    assert epochs_of(run) == list(range(len(epochs_of(run))))  # none is missing and none done twice
    expect(last_epoch(page)).to_have_attribute("aria-valuetext", re.compile(f"^epoch {epochs_of(run)[-1]},"))
    expect(page.get_by_role("alert")).to_have_count(0)
    until(lambda: points(loss_curve(page))[-1] == epochs_of(run)[-1], "the curve has the last epoch")
    assert shown_epochs(loss_curve(page)) == zoomed


def curves_grow_and_a_zoom_holds(page: Page) -> list[float]:
    loss = loss_curve(page)
    until(lambda: len(points(loss)) >= 2, "the first points of the curve")
    before, seen = shown_epochs(loss), points(loss)
    assert seen[0] == 0  # the untrained model
    zoomed = zoom(page, loss)
    assert zoomed != before
    until(lambda: len(points(loss)) > len(seen), "the curve grows")
    assert shown_epochs(loss) == zoomed
    return zoomed


def a_killed_worker_is_told_in_a_sentence(page: Page, run: Run) -> None:
    os.kill(worker_of(run), signal.SIGKILL)
    sentence = page.get_by_text(re.compile(r"^The worker stopped unexpectedly after epoch \d+\. Resume continues from"))
    expect(sentence).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    kept = len(epochs_of(run))
    page.get_by_role("button", name="Resume").click()
    until(lambda: len(epochs_of(run)) > kept, "it goes on")
    expect(sentence).to_have_count(0)


@contextlib.contextmanager
def held(run: Run) -> Iterator[None]:
    """The worker of a run stands still inside, so that a training without an end leaves the cores to others."""
    worker = worker_of(run)
    os.kill(worker, signal.SIGSTOP)
    yield
    os.kill(worker, signal.SIGCONT)


def test_runs_queue_and_finish_without_a_browser_and_without_the_server(
    page: Page, machine: Server, pictures: Path
) -> None:
    """The last test of `machine`, which ends here."""
    first = start(page, machine, pictures, epochs=ENDLESS, threads=num_cores())
    until(lambda: first.state.phase == "training", "the first one trains")
    with held(first):
        second = start(page, machine, pictures, epochs=5)
        expect(page.get_by_text(re.compile("Waiting for another run to release the cpu"))).to_be_visible()
        expect(page.get_by_text("queued")).to_be_visible()
        assert first.state.phase == "training" and epochs_of(second) == []
        page.goto("about:blank")
        machine.kill()
    done = len(epochs_of(first))
    until(lambda: len(epochs_of(first)) > done, "the first one goes on")
    assert second.state.phase == "queued"
    first.request("stop")
    until(lambda: second.state.phase == "done", "the second one trains to its end by itself")
    assert first.state.phase == "stopped" and epochs_of(first) == list(range(len(epochs_of(first))))
    assert epochs_of(second) == list(range(6))
