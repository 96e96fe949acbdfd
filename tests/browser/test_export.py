"""Take it along: files as a browser saves them, and BertViz's views opened from disk without a net."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from minivit.attention import attend
from minivit.data import load_split
from minivit.runs import Run
from tests.browser.browsing import settle, watched
from tests.browser.server import Server, until


def saved(page: Page, label: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=label).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def lines(view: Any) -> dict[int, int]:
    """How many lines BertViz shows, by the token that they start from; 0 is CLS."""
    shown = view.locator("#attention line").evaluate_all(
        """(lines) => lines.filter((line) => getComputedStyle(line).visibility === "visible")
                           .map((line) => line.getAttribute("left-token-index"))"""
    )
    return {number: shown.count(str(number)) for number in map(int, dict.fromkeys(shown))}


def test_bertviz_in_the_page_and_saved_to_disk_shows_one_token_s_lines_under_the_pointer_and_the_chosen_layers_alone(
    page: Page, browser: Browser, server: Server, trained_run: Run, tmp_path: Path
) -> None:
    server.open(page, "attention", run=trained_run.id, image=5)
    page.get_by_role("button", name="Remove 1").click()
    expect(page.get_by_text("all layers and heads (16,900 lines)")).to_be_visible()  # of the second layer alone
    settle(page)
    page.get_by_text("Show BertViz").click()
    view = page.frame_locator("iframe")
    token = view.locator("#left").get_by_text("p30", exact=True)
    expect(token).to_be_visible()
    until(lambda: lines(view) == {number: 4 * 65 for number in range(65)}, "the lines of four heads are there")
    token.hover()
    until(lambda: lines(view) == {31: 4 * 65}, "only the lines of p30 are left")
    expect(page).to_have_url(re.compile("bertviz=true"))
    settle(page)
    head_view = saved(page, "Head view as HTML", tmp_path)
    model_view = saved(page, "Model view as HTML", tmp_path)
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    alone = context.new_page()
    with watched(alone, "file://"):
        alone.goto(head_view.as_uri())
        expect(alone.get_by_role("combobox").locator("option")).to_have_text(["1"])  # the second, from 0
        alone.locator("#left").get_by_text("p30", exact=True).hover()
        until(lambda: lines(alone) == {31: 4 * 65}, "only the lines of p30 are left")
        expect(alone.get_by_role("img", name="p30: row 4, column 7")).to_be_visible()
        alone.locator("#left").get_by_text("p63", exact=True).hover()
        expect(alone.get_by_role("img", name="p63: row 8, column 8")).to_be_in_viewport(ratio=1)
        alone.locator("#right").get_by_text("[CLS]", exact=True).hover()
        expect(alone.get_by_role("img", name="CLS represents the entire image")).to_be_visible()
        alone.goto(model_view.as_uri())
        expect(alone.locator(".attn_background")).to_have_count(4)
        alone.mouse.click(100, 200)
        alone.locator("text.token").get_by_text("p9", exact=True).first.hover()
        expect(alone.get_by_role("img", name="p9: row 2, column 2")).to_be_visible()
    context.close()


def test_arrays_json_and_picture_come_as_files(page: Page, server: Server, trained_run: Run, tmp_path: Path) -> None:
    server.open(page, "attention", run=trained_run.id, image=5, epoch=2, layer=1, head=2)
    with np.load(saved(page, "Arrays (.npz)", tmp_path), allow_pickle=False) as arrays:
        image = load_split(trained_run.config)[1].images[5:6]
        probs, attn = attend(trained_run.load_model(2), image)
        np.testing.assert_allclose(arrays["attn"], attn[0], atol=1e-6)
        np.testing.assert_allclose(arrays["probs"], probs[0], atol=1e-6)
    written = saved(page, "Attention as JSON", tmp_path)
    assert written.name == "attention-image5-epoch2.json"
    stored = json.loads(written.read_text())
    assert stored["tokens"] == ["[CLS]", *(f"p{number}" for number in range(64))]
    np.testing.assert_allclose(stored["attentions"], attn[0, 0, 1], atol=1e-6)
    with Image.open(saved(page, "Map as PNG", tmp_path)) as picture:
        assert picture.size[0] > 800
    assert "uniform 1/65 = 0.0154" in saved(page, "Map as SVG", tmp_path).read_text()
