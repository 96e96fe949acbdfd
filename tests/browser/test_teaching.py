"""For a class: the link to exactly what is on screen, and a presentation that the keyboard leads through."""

import re

from playwright.sync_api import Page, expect

from minivit.runs import Run
from tests.browser.browsing import drawn
from tests.browser.server import Server


def test_a_copied_link_shows_the_same_picture_in_a_new_session(page: Page, server: Server, trained_run: Run) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.open(page, "attention", run=trained_run.id, epoch=3, image=3, layer=1, head=2, token="p5")
    page.get_by_label("Scale").select_option("own")
    page.get_by_label("Colors").select_option("viridis")
    page.get_by_label("Overlay").fill("50")
    page.get_by_role("button", name="layer 2, max over heads").click()
    expect(page).to_have_url(re.compile("head=max"))
    copy = page.get_by_role("button", name="Copy link")
    copy.click()
    expect(page.get_by_role("status").get_by_text("Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    painted = pixels(page)
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_label("Scale")).to_have_value("own")
    expect(page.get_by_label("Colors")).to_have_value("viridis")
    expect(page.get_by_label("Overlay")).to_have_value("50")
    expect(page.get_by_role("button", name="layer 2, max over heads")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("p5 attends to", exact=True)).to_be_visible()
    assert pixels(page) == painted
    page.context.clear_permissions()
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    copy.click()
    field = page.get_by_label("Link", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_value(link)


def pixels(page: Page) -> str:
    """The map of the trained model as it is painted, before overlay and grid."""
    drawn(page)
    map = page.get_by_role("application", name=re.compile("^Image 3, ")).locator("canvas").nth(1)
    return map.evaluate("(canvas) => canvas.toDataURL() + canvas.style.maskImage")


def test_the_keyboard_leads_through_a_presentation_and_out_of_it(page: Page, server: Server, trained_run: Run) -> None:
    server.open(page, "attention", run=trained_run.id, image=3, present="true")
    number = page.get_by_role("spinbutton", name="Test image")
    expect(number).to_be_visible()
    expect(page.get_by_role("link", name="Predictions")).to_have_count(0)
    expect(page.get_by_role("combobox", name="Run")).to_have_count(0)
    drawn(page)
    page.keyboard.press("ArrowRight")
    expect(number).to_have_value("4")
    drawn(page)
    picture = page.get_by_role("application", name=re.compile("^Image 4, "))
    picture.focus()
    picture.press("ArrowRight")  # which selects a patch there
    expect(page).to_have_url(re.compile("token=p0"))
    picture.press("Escape")  # and CLS again
    expect(page).to_have_url(re.compile("token=cls"))
    expect(number).to_have_value("4")
    drawn(page)
    page.reload()
    expect(number).to_have_value("4")
    drawn(page)
    page.keyboard.press("ArrowLeft")
    expect(number).to_have_value("3")
    drawn(page)
    page.set_viewport_size({"width": 390, "height": 800})  # a phone, where the pictures come first
    expect(page.locator(".st-key-frame_Next").get_by_role("button")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Predictions")).to_be_visible()
    expect(page).not_to_have_url(re.compile("present"))
