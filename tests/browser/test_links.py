"""Every view is a link: on a server that nobody has visited yet, to a run that is gone, and with nonsense in it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from minivit.runs import Run
from tests.browser.conftest import Server, settle

PAGES = ["Home", "Data", "Train", "Predictions", "Attention", "Compare", "Anatomy", "Runs"]

# What each page shows of the trained run, by role and name.
CONTENT = {
    "Home": ("link", "Curves"),
    "Data": ("group", "Samples"),
    "Train": ("slider", re.compile("loss by epoch")),
    "Predictions": ("group", "Held-out images"),
    "Attention": ("application", re.compile("image 3: .*8 by 8 patches")),
    "Compare": ("button", re.compile("epoch 1: .*; epoch 3: ")),
    "Anatomy": ("group", "Patch filters"),
    "Runs": ("button", "Download as CSV"),
}
VIEW = {"epoch": 3, "before": 1, "image": 3, "layer": 1, "head": 2, "token": "p5"}


def links(page: Page) -> Locator:
    return page.get_by_role("region", name="Sidebar").get_by_role("link")


def place(name: str) -> str:
    return "" if name == "Home" else name.lower()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_request_a_server_gets_may_be_any_link(
    page: Page, server: Server, trained_run: Run, new_server: Callable[..., Server], name: str
) -> None:
    cold = new_server(runs=server.runs)
    cold.start()
    cold.open(page, place(name), run=trained_run.id, **VIEW)
    expect(page.get_by_role("heading", level=1)).to_have_text("MiniViT" if name == "Home" else name)
    expect(page).to_have_title("MiniViT" if name == "Home" else f"{name} · MiniViT")
    expect(links(page)).to_have_text(PAGES)
    for link in links(page).all():
        expect(link).to_have_attribute("href", re.compile(rf"\?run={trained_run.id}$"))
    expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)  # Streamlit's own list of files
    role, content = CONTENT[name]
    expect(page.get_by_role(role, name=content).first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    cold.close()


def test_a_link_brings_back_the_epoch_the_image_the_layer_the_head_and_the_token(
    page: Page, server: Server, trained_run: Run
) -> None:
    server.open(page, "attention", run=trained_run.id, **VIEW)
    expect(page.get_by_role("slider", name="Epoch")).to_have_attribute("aria-valuetext", "3")
    expect(page.get_by_role("spinbutton", name="Held-out image")).to_have_value("3")
    expect(page.get_by_role("button", name="layer 1, head 2")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("p5 looks at", exact=True)).to_be_visible()
    links(page).get_by_text("Predictions").click()  # the menu stays with the run
    expect(page.get_by_role("heading", level=1)).to_have_text("Predictions")
    assert f"run={trained_run.id}" in page.url
    expect(page.get_by_text("p5 looks at", exact=True)).to_have_count(0)


@pytest.mark.parametrize("name", ["Train", "Predictions", "Attention", "Compare", "Anatomy"])
def test_a_link_to_a_run_that_is_gone_says_so_and_offers_the_others(
    page: Page, server: Server, trained_run: Run, name: str
) -> None:
    server.open(page, place(name), run="20200101-000000-gone")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"The run '20200101-000000-gone' is not in .*\. It may have been deleted; choose another run\.")
    )
    role, content = CONTENT[name]
    expect(page.get_by_role(role, name=content)).to_have_count(0)  # no other run is shown in its place
    page.get_by_role("combobox", name="run").click()
    page.get_by_role("option").first.click()
    settle(page)
    expect(page).to_have_url(re.compile(f"run={trained_run.id}"))
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"epoch": 99, "image": 100_000, "layer": 9, "head": 9, "token": "p64"},
        {"epoch": -1, "image": -1, "layer": 0, "head": 0, "token": "p-1"},
        {"epoch": "last", "image": "<b>", "layer": "1.5", "head": "'; --", "token": "q3"},
        {"epoch": "²", "image": "٣٣٣٣", "layer": "１００", "head": "²", "token": "p²"},
        {"epoch": "9" * 5000, "image": "9" * 5000, "layer": "9" * 5000, "head": "9" * 5000, "token": "p" + "9" * 5000},
        {"epoch": "", "image": "", "layer": "", "head": "", "token": ""},
    ],
    ids=["too large", "too small", "words", "foreign digits", "endless", "empty"],
)
def test_nonsense_in_a_link_falls_back_to_what_the_run_has(
    page: Page, server: Server, trained_run: Run, nonsense: dict[str, object]
) -> None:
    server.open(page, "attention", run=trained_run.id, **nonsense)
    expect(page.get_by_role("slider", name="Epoch")).to_have_attribute("aria-valuetext", "4")
    expect(page.get_by_role("spinbutton", name="Held-out image")).to_have_value("0")
    expect(page.get_by_role("button", name="layer 2, mean")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("CLS looks at", exact=True)).to_be_visible()
    server.open(page, "compare", run=trained_run.id, before=nonsense["epoch"], images="nothing", **nonsense)
    expect(page.get_by_role("button", name=re.compile("untrained: .*; epoch 4: ")).first).to_be_visible()
    server.open(page, "predictions", run=trained_run.id, true="dog", predicted="", order="?", page="x", answer="7")
    expect(page.get_by_text("120 images shown" if False else "images shown")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.parametrize("run", ["../..", "..", ".", "/etc", "a/../b", "%2e%2e", "x\0y", "x" * 5000])
def test_a_link_never_leaves_the_folder_of_runs(page: Page, server: Server, run: str) -> None:
    (server.runs.parent / "config.json").write_text(next(server.runs.glob("*/config.json")).read_text())
    for name in ("predictions", "train"):
        server.open(page, name, run=run)
        expect(page.get_by_role("alert")).to_have_text(re.compile("The run .* is not in "))
        expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_run_without_checkpoints_says_so(page: Page, new_server: Callable[..., Server], trained_run: Run) -> None:
    server = new_server()
    bare = server.runs / trained_run.id
    (bare / "checkpoints").mkdir(parents=True)
    for kept in ("config.json", "state.json", "metrics.jsonl"):
        (bare / kept).write_bytes((trained_run.path / kept).read_bytes())
    server.start()
    for name in ("predictions", "attention", "compare", "anatomy"):
        server.open(page, name, run=bare.name)
        expect(page.get_by_role("alert")).to_have_text(re.compile("has no checkpoints yet. Wait for epoch 0, or"))
    server.open(page, "train", run=bare.name)
    expect(page.get_by_role("slider", name="loss by epoch")).to_have_attribute("aria-valuetext", re.compile("epoch 4"))
    expect(page.get_by_role("alert")).to_have_count(0)
