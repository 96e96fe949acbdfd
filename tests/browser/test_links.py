"""Every view is a link: on a server that nobody has visited yet, there and back, and with nonsense in it."""

import re
from collections.abc import Callable
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from minivit.runs import Run
from tests.browser.browsing import choose, drawn, settle
from tests.browser.server import Server, until

# What each page shows of the trained run, by role and name.
CONTENT = {
    "Home": ("link", "Curves"),
    "Data": ("group", "Samples"),
    "Train": ("slider", re.compile("loss by epoch")),
    "Sweeps": ("button", re.compile("^Start")),
    "Predictions": ("group", "Test images"),
    "Attention": ("application", re.compile("Image 3, .*8 by 8 patches")),
    "Compare": ("button", re.compile("epoch 1: .*; selected checkpoint: ")),
    "Anatomy": ("group", "Patch filters"),
    "Runs": ("button", "Download as CSV"),
}
VIEW = {"epoch": 3, "before": 1, "image": 3, "layer": 1, "head": 2, "token": "p5"}


def links(page: Page) -> Locator:
    return page.get_by_role("region", name="Sidebar").get_by_role("link")


def test_the_first_request_that_a_server_gets_may_be_a_link_to_a_picture(
    page: Page, server: Server, trained_run: Run, new_server: Callable[..., Server]
) -> None:
    cold = new_server(runs=server.runs)
    cold.start()
    expect_link_works(page, cold, trained_run, "Attention")
    page.goto("about:blank")  # scripts that are still loading would fail with the server
    cold.kill()


def expect_link_works(page: Page, server: Server, run: Run, name: str) -> None:
    """Opens the link to a page of a run: the page, its title and its sidebar, which a phone hides, appear."""
    path = "" if name == "Home" else name.lower()
    page.goto(f"{server.address}/{path}?{urlencode({'run': run.id, **VIEW})}", wait_until="commit")
    expect(page.get_by_role("heading", level=1)).to_have_text("MiniViT" if name == "Home" else name)
    expect(page).to_have_title("MiniViT" if name == "Home" else f"{name} · MiniViT")
    if page.evaluate("innerWidth > 1000"):
        expect(links(page)).to_have_text(list(CONTENT))
        for link in links(page).all():
            expect(link).to_have_attribute("href", re.compile(rf"\?run={run.id}$"))
    role, content = CONTENT[name]
    expect(page.get_by_role(role, name=content).first).to_be_visible()
    settle(page)
    expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)  # Streamlit's own list of files
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_the_back_button_undoes_one_choice_after_another_and_traps_no_one(
    page: Page, server: Server, trained_run: Run
) -> None:
    server.open(page, "predictions", run=trained_run.id, epoch=4)
    epoch = page.get_by_role("slider", name="Epoch")
    true = page.get_by_role("radiogroup", name="True class").get_by_role("radio", checked=True)
    epoch.press("ArrowLeft")
    expect(page).to_have_url(re.compile("epoch=3"))
    expect(epoch).to_be_focused()  # so that the keyboard can go on
    settle(page)
    page.get_by_role("button", name=re.compile("^true star, predicted circle:")).click()
    expect(page).to_have_url(re.compile("predicted=circle"))
    expect(true).to_have_text(re.compile("^star "))
    settle(page)  # Streamlit loses a step back into a page that is still being drawn
    page.go_back()
    expect(page).not_to_have_url(re.compile("predicted=circle"))
    expect(true).to_have_count(0)
    settle(page)
    page.go_back()
    expect(epoch).to_have_attribute("aria-valuetext", "4")
    settle(page)
    expect(page).to_have_url(re.compile("epoch=4"))
    page.go_back()
    assert page.url == "about:blank"


def test_one_step_back_leaves_a_page_that_filled_in_its_run_epoch_and_image(
    page: Page, server: Server, trained_run: Run
) -> None:
    server.open(page, "runs")
    drawn(page)
    links(page).get_by_text("Attention", exact=True).click()
    expect(page).to_have_url(re.compile("/attention.*run=.*epoch=.*image="))
    drawn(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_back_from_an_image_returns_to_the_same_filter_order_and_scroll_position(
    page: Page, server: Server, trained_run: Run
) -> None:
    server.open(page, "predictions", run=trained_run.id)
    incorrect = page.get_by_role("radio", name=re.compile("^incorrect "))
    incorrect.click()
    expect(page).to_have_url(re.compile("result=incorrect"))
    settle(page)
    choose(page, "Sort by", "least confident")
    expect(page).to_have_url(re.compile("order=least"))
    images = page.get_by_role("group", name="Test images").get_by_role("button")
    drawn(page)
    labels = [image.get_attribute("aria-label") for image in images.all()]
    images.last.scroll_into_view_if_needed()
    main = page.get_by_role("main")
    top = main.evaluate("(main) => main.scrollTop")
    assert top > 100
    images.last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Attention")
    drawn(page)
    assert main.evaluate("(main) => main.scrollTop") == 0  # another page starts at its top
    opened = page.url
    number = page.get_by_role("spinbutton", name="Test image")
    image = number.input_value()
    page.get_by_role("button", name="Next incorrect image").click()
    expect(number).not_to_have_value(image)
    drawn(page)
    page.go_back()
    expect(page).to_have_url(opened)
    expect(number).to_have_value(image)
    drawn(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Predictions")
    expect(incorrect).to_be_checked()
    expect(page.get_by_role("combobox", name="Sort by")).to_have_value("least confident")
    expect(images.last).to_be_in_viewport()
    drawn(page)
    assert [image.get_attribute("aria-label") for image in images.all()] == labels
    until(lambda: main.evaluate("(main) => main.scrollTop") == top, "the page is where it was")


def test_the_back_button_goes_through_images_and_heads(page: Page, server: Server, trained_run: Run) -> None:
    server.open(page, "attention", run=trained_run.id, **VIEW)
    number = page.get_by_role("spinbutton", name="Test image")
    number.fill("9")
    number.press("Enter")
    expect(page.get_by_role("application", name=re.compile("^Image 9, "))).to_be_visible()
    page.get_by_role("button", name="layer 2, max over heads").click()
    expect(page).to_have_url(re.compile("head=max"))
    settle(page)
    page.go_back()
    expect(page.get_by_role("button", name="layer 1, head 2")).to_have_attribute("aria-pressed", "true")
    settle(page)
    page.go_back()
    expect(number).to_have_value("3")
    expect(page).to_have_url(re.compile("image=3"))
    drawn(page)  # what it shows now is there, whatever was overtaken on the way


def test_the_back_button_goes_through_the_checkpoints_one_by_one(page: Page, server: Server, trained_run: Run) -> None:
    server.open(page, "anatomy", run=trained_run.id, epoch=4, image=0)
    checkpoint = page.get_by_role("slider", name="Checkpoint")
    for earlier in (3, 2):
        checkpoint.press("ArrowLeft")
        expect(page).to_have_url(re.compile(f"epoch={earlier}"))
        settle(page)
    page.go_back()
    expect(checkpoint).to_have_attribute("aria-valuetext", "epoch 3")
    settle(page)
    page.go_back()
    expect(checkpoint).to_have_attribute("aria-valuetext", "epoch 4")
    page.go_back()
    assert page.url == "about:blank"
