"""The main job through the pages alone: choose, train, watch, browse, look inside, compare; every view comes back."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from minivit.runs import Run
from tests.browser.conftest import Server, choose, settle, until, watched

POINTS = """chart => chart.data.filter(trace => trace.name === 'held-out').map(trace => Array.from(trace.x))[0]"""
ZOOM = "chart => chart.layout.xaxis.range.map(Number)"


def plots(page: Page):
    return page.locator(".js-plotly-plot")


@pytest.fixture(scope="module")
def empty_server(new_server: Callable[..., Server]) -> Server:
    """A machine on which nobody has trained anything."""
    server = new_server()
    server.start()
    return server


@pytest.fixture(scope="module")
def journey_run(empty_server: Server, browser: Browser, pictures: Path) -> Run:
    """The run that a person makes by clicking, while its curves grow and keep the zoom; the rest looks at it."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    with watched(page):
        empty_server.open(page)
        expect(page.get_by_text("None yet.")).to_be_visible()
        page.get_by_role("link", name="Train", exact=True).click()
        choose(page, "Data set", "Images of a folder")
        page.get_by_role("textbox", name="Folder").fill(str(pictures))
        page.keyboard.press("Enter")
        for name in ("cross", "circle", "star"):  # all are chosen beforehand; a person wants another order
            page.get_by_role("button", name=f"Remove {name}").click()
            settle(page)
            if name == "star":
                expect(page.get_by_text("needs at least 2 classes")).to_be_visible()
        for name in ("star", "circle", "cross"):
            choose(page, "Classes", name)
        page.get_by_text("Training", exact=True).click()
        page.get_by_role("spinbutton", name="Epochs").first.fill("40")
        page.keyboard.press("Enter")
        page.get_by_text("Model", exact=True).click()
        page.get_by_role("spinbutton", name="Heads").fill("2")
        page.keyboard.press("Enter")
        settle(page)
        expect(
            page.get_by_text(re.compile(r"28,611 parameters · 480 images to train on · about .* here"))
        ).to_be_visible()
        page.get_by_role("button", name="Train this model").click()

        expect(page).to_have_url(re.compile(r"run=\d{8}-\d{6}-star-circle-cross"))
        expect(plots(page)).to_have_count(2)
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        chart = plots(page).first
        until(lambda: len(chart.evaluate(POINTS) or []) >= 3, "the first points of the curve")
        first = chart.evaluate(POINTS)
        assert first[0] == 0  # the untrained model
        box = chart.locator(".nsewdrag").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=5)
        page.mouse.up()
        zoomed = chart.evaluate(ZOOM)
        until(lambda: len(chart.evaluate(POINTS)) > len(first), "the curve grows")
        assert chart.evaluate(ZOOM) == zoomed
        expect(page.get_by_text("epoch 40 of 40")).to_be_visible(timeout=120_000)
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        assert chart.evaluate(POINTS) == list(range(41))
        page.close()
    (run,) = empty_server.all_runs()
    assert run.state.phase == "done" and run.config.classes == ("star", "circle", "cross")
    return run


def test_the_gallery_shows_what_the_confusion_matrix_counts(page: Page, empty_server: Server, journey_run: Run) -> None:
    empty_server.open(page, "predictions", run=journey_run.id)
    gallery = page.get_by_role("group", name="Held-out images")
    expect(gallery.get_by_role("button")).to_have_count(96)
    expect(gallery.get_by_text(re.compile("^T: star")).first).to_be_visible()
    cell = page.get_by_role("button", name=re.compile("^true star, predicted circle:"))
    count = int(re.sub(r"\D", "", cell.inner_text()))
    cell.click()
    settle(page)
    expect(gallery.get_by_role("button")).to_have_count(min(count, 96)) if count else expect(gallery).to_have_count(0)
    expect(page).to_have_url(re.compile("true=star.*predicted=circle"))
    page.reload()
    settle(page)
    expect(cell).to_have_attribute("aria-pressed", "true")
    for button in gallery.get_by_role("button").all():
        expect(button).to_have_accessible_name(re.compile("true star, predicted circle, wrong"))


def test_an_image_opens_patch_by_patch_and_the_view_comes_back_in_another_browser(
    page: Page, empty_server: Server, journey_run: Run, browser: Browser
) -> None:
    empty_server.open(page, "predictions", run=journey_run.id)
    page.get_by_role("group", name="Held-out images").get_by_role("button").nth(7).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Attention")
    settle(page)
    expect(page).to_have_url(re.compile(r"image=7\b"))
    picture = page.get_by_role("application")
    box = picture.bounding_box()
    assert box
    picture.click(position={"x": box["width"] * 3.5 / 8, "y": box["height"] * 2.5 / 8})  # row 3, column 4 of 8
    expect(page).to_have_url(re.compile(r"token=p19\b"))
    expect(page.get_by_text("p19 looks at", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"run={journey_run.id}"))
    for name in ("epoch=40", "layer=1", "head=", "image=7"):
        assert name in page.url
    page.reload()
    settle(page)
    expect(page.get_by_text("p19 looks at", exact=True)).to_be_visible()
    elsewhere = browser.new_context().new_page()
    with watched(elsewhere):
        elsewhere.goto(page.url)
        expect(elsewhere.get_by_text("p19 looks at", exact=True)).to_be_visible()
        elsewhere.context.close()
    assert "p19" not in journey_run.log()  # looking leaves no trace in the run


def test_the_articles_json_holds_the_attention_that_the_model_computes(
    page: Page, empty_server: Server, journey_run: Run, tmp_path: Path
) -> None:
    empty_server.open(page, "attention", run=journey_run.id, image=5, layer=1, head=2)
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile("Attention as JSON")).click()
    started.value.save_as(tmp_path / "attention.json")
    stored = json.loads((tmp_path / "attention.json").read_text())
    assert stored["tokens"][:2] == ["[CLS]", "p0"] and len(stored["tokens"]) == 65
    printed = json.loads(empty_server.command("export", str(journey_run.path), "--image", "5", "--head", "2"))
    for ours, theirs in zip(stored["attentions"], printed["attentions"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
        assert sum(ours) == pytest.approx(1, abs=1e-5)


def test_bertviz_shows_one_tokens_lines_while_the_pointer_is_on_it(
    page: Page, empty_server: Server, journey_run: Run
) -> None:
    empty_server.open(page, "attention", run=journey_run.id, image=5)
    page.get_by_text("Show BertViz").click()
    view = page.frame_locator("iframe")
    token = view.locator("text").filter(has_text=re.compile("^p30$")).first
    expect(token).to_be_visible()
    drawn = """svg => [...svg.querySelectorAll('#attention line')]
        .filter(line => getComputedStyle(line).visibility !== 'hidden')
        .map(line => +line.getAttribute('left-token-index'))"""
    drawing = view.locator("svg").first
    assert set(drawing.evaluate(drawn)) == set(range(65))
    token.hover()
    until(lambda: set(drawing.evaluate(drawn)) == {31}, "only the lines of p30 remain")
    assert len(drawing.evaluate(drawn)) == 2 * 65  # two heads


def test_compare_puts_untrained_and_trained_on_one_scale_with_its_uniform_value(
    page: Page, empty_server: Server, journey_run: Run
) -> None:
    empty_server.open(page, "compare", run=journey_run.id)
    expect(page.get_by_text("Attention, one scale for all maps.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"uniform 1/65 = 0\.0154"))).to_be_visible()
    expect(page.get_by_text(re.compile("Difference: epoch 40 − untrained"))).to_be_visible()
    rows = page.get_by_role("button", name=re.compile("untrained: .*; epoch 40: "))
    expect(rows).to_have_count(8)
    choose(page, "Images", "Wrong before, right after")
    for row in rows.all():
        expect(row).to_have_accessible_name(re.compile("untrained: .*, wrong; epoch 40: .*, right$"))
    page.reload()
    settle(page)
    expect(page.get_by_role("combobox", name="Images")).to_have_value("Wrong before, right after")
    expect(rows.first).to_be_visible()
