"""The inspector in Streamlit: what it sends, and what a rerun leaves as it is."""

import re

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from pages.parts.components.inspector import quantized
from tests.browser.browsing import settle
from tests.browser.canvases import painted
from tests.browser.server import until


def open_inspector(page: Page, app: str, query: str = "") -> Locator:
    """The picture, once the server's run is over."""
    page.goto(f"{app}/?show=inspector&{query}")
    expect(page.get_by_text("image 0, pick")).to_be_visible()
    settle(page)
    picture = page.get_by_role("application")
    expect(picture).to_be_visible()
    return picture


def patch(picture: Locator, number: int, grid: int = 8) -> dict[str, float]:
    """The middle of a patch, as a position inside the picture."""
    box = picture.bounding_box()
    assert box
    return {"x": (number % grid + 0.5) * box["width"] / grid, "y": (number // grid + 0.5) * box["height"] / grid}


def overlay(picture: Locator) -> Locator:
    return picture.locator("canvas").nth(1)


def test_hovering_sends_nothing_and_keys_and_clicks_are_answered_in_order(page: Page, component_app: str) -> None:
    """One picture, for opening it takes long: each part begins where the one before has left it."""
    sent: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    picture = open_inspector(page, component_app)
    hovering_paints_the_patch_s_own_attention_and_sends_nothing(page, picture, sent)
    arrow_keys_move_over_the_patches_and_escape_goes_back_to_cls(page, picture)
    quick_keys_are_not_undone_by_late_answers(page, picture)
    a_click_masks_and_unmasks_patches_in_masking_mode(page, picture)


def hovering_paints_the_patch_s_own_attention_and_sends_nothing(
    page: Page, picture: Locator, sent: list[str | bytes]
) -> None:
    of_cls = painted(overlay(picture))
    before = len(sent)
    picture.hover(position=patch(picture, 30))
    expect(page.get_by_text("p30 attends to", exact=True)).to_be_visible()
    expect(page.get_by_text("CLS attends to p30: 0.")).to_be_visible()
    assert (painted(overlay(picture)) != of_cls).any()
    page.mouse.move(5, 5)
    expect(page.get_by_text("CLS attends to", exact=True)).to_be_visible()
    np.testing.assert_array_equal(painted(overlay(picture)), of_cls)
    assert before > 0 and len(sent) == before
    expect(page.get_by_role("status").filter(has_text="attends to")).to_have_count(0)  # nor is hovering read out


def arrow_keys_move_over_the_patches_and_escape_goes_back_to_cls(page: Page, picture: Locator) -> None:
    picture.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        picture.press(key)
    expect(page.get_by_text("p2 attends to", exact=True)).to_be_visible()  # the edge holds
    expect(page.get_by_text("pick (0, 0, 3)")).to_be_visible()
    picture.press("Escape")
    expect(page.get_by_text("pick (0, 0, 0)")).to_be_visible()
    expect(page.get_by_role("button", name="CLS")).to_have_attribute("aria-pressed", "true")
    expect(picture).to_be_focused()


def quick_keys_are_not_undone_by_late_answers(page: Page, picture: Locator) -> None:
    for number in range(9, 20):
        picture.click(position=patch(picture, number))
    expect(page.get_by_text("pick (0, 0, 20)")).to_be_visible()
    picture.press("ArrowRight")
    expect(page.get_by_text("p20 attends to", exact=True)).to_be_visible()
    expect(page.get_by_text("pick (0, 0, 21)")).to_be_visible()
    picture.press("Escape")
    expect(page.get_by_text("pick (0, 0, 0)")).to_be_visible()


def a_click_masks_and_unmasks_patches_in_masking_mode(page: Page, picture: Locator) -> None:
    page.get_by_label("Mask patches").check()
    for number in (3, 4, 10):
        picture.click(position=patch(picture, number))
    picture.click(position=patch(picture, 4))
    expect(page.get_by_text("pick (0, 0, 0), masked [4, 11]")).to_be_visible()  # and nothing is picked
    expect(page.get_by_text("Masked: p3, p10.", exact=True)).to_be_visible()
    alpha = painted(overlay(picture))[..., 3].reshape(-1)
    assert (alpha == 0).nonzero()[0].tolist() == [3, 10]
    picture.focus()
    picture.press("ArrowRight")  # to p0
    picture.press("Space")
    expect(page.get_by_text("pick (0, 0, 1), masked [1, 4, 11]")).to_be_visible()
    page.get_by_role("button", name="Unmask all").click()
    expect(page.get_by_text("masked []")).to_be_visible()
    assert (painted(overlay(picture))[..., 3] == 255).all()
    page.get_by_label("Mask patches").uncheck()
    picture.click(position=patch(picture, 7))
    expect(page.get_by_text("pick (0, 0, 8), masked []")).to_be_visible()


def test_a_click_delivers_layer_head_and_token_and_own_settings_survive_new_data(
    page: Page, component_app: str
) -> None:
    picture = open_inspector(page, component_app, "layers=2&heads=3")
    picture.click(position=patch(picture, 30))
    expect(page.get_by_text("pick (0, 0, 31)")).to_be_visible()
    button = page.get_by_role("button", name="layer 2, head 3", exact=True)
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(page.get_by_text("pick (1, 2, 31)")).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", pressed=True)).to_have_count(1)
    page.get_by_role("button", name="layer 1, mean over heads").click()
    expect(page.get_by_text("pick (0, 'mean', 31)")).to_be_visible()
    page.get_by_role("button", name="CLS").click()
    expect(page.get_by_text("pick (0, 'mean', 0)")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="layer 1, mean over heads. CLS attends to")).to_have_count(1)
    page.get_by_label("Colors").select_option("viridis")
    page.get_by_label("Scale").select_option("per-map scale")
    page.get_by_label("Overlay").fill("85")
    page.get_by_label("Grid").uncheck()
    expect(page.get_by_text("contrast exaggerated")).to_be_visible()
    before = painted(overlay(picture))
    page.get_by_role("button", name="Next image").click()
    expect(page.get_by_text("image 1, pick")).to_be_visible()
    until(lambda: (painted(overlay(picture)) != before).any(), "the map of the next image")
    expect(page.get_by_label("Colors")).to_have_value("viridis")
    expect(page.get_by_label("Scale")).to_have_value("own")
    expect(page.get_by_label("Overlay")).to_have_value("85")
    expect(page.get_by_label("Grid")).not_to_be_checked()
    expect(overlay(picture)).to_have_css("mask-image", re.compile("^linear-gradient"))
    assert tuple(painted(overlay(picture)).reshape(-1, 4).min(0)[:3]) != (0, 0, 0)  # viridis knows no black


@pytest.mark.parametrize(("max_fine_values", "highest"), [(2**19, 65535), (100, 255)])
def test_quantized_rows_come_back_to_half_a_step(
    monkeypatch: pytest.MonkeyPatch, max_fine_values: int, highest: int
) -> None:
    monkeypatch.setattr("pages.parts.components.inspector.MAX_FINE_VALUES", max_fine_values)
    rng = np.random.default_rng(0)
    attn = rng.dirichlet(np.full(65, 0.3), size=(2, 3, 65)).astype(np.float32)
    values, scales = quantized(attn)
    assert values.max() == highest and scales.shape == (2, 3, 65)
    off = np.abs(values / highest * scales[..., None] - attn)
    assert (off <= scales[..., None] / (1.9 * highest)).all()  # half a step, and rounding to float32
