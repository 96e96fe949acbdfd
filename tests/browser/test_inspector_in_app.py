"""The inspector on a small app of its own: what it sends, and what a rerun leaves as it is."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from pages.parts.components.inspector import quantized
from tests.browser.browsing import expect_components_for_everybody
from tests.browser.canvases import painted, painted_maps
from tests.browser.server import serving

MARKUP = "<img src=x onerror=alert(1)>"

INSPECTOR = """
import numpy as np
import streamlit as st
from minivit.figures import attention_scale
from pages.parts.components.inspector import ValueFormat, View, inspector, attention_format

layers, heads, size = (int(st.query_params.get(name, 1)) for name in ("layers", "heads", "size"))
even = "even" in st.query_params

@st.fragment
def part():
    number = st.session_state.setdefault("number", 0) + st.button("Next image")
    st.session_state.number = number
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    scores = rng.normal(size=(layers, heads, 65, 65)) * (not even)
    attn = (np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)).astype(np.float32)
    layer, head, token = st.session_state.setdefault("pick", (0, 0, 0))
    masked = st.session_state.setdefault("masked", [])
    signed = np.linspace(-0.5, 1, 64, dtype=np.float32) if "signed" in st.query_params else None
    inspector(
        image, attn if signed is None else signed, View(layer, head, token, tuple(masked)), patch_size=4,
        key="inspector", title="<img src=x onerror=alert(1)>",
        on_pick=lambda picked: st.session_state.update(pick=tuple(picked)[:3]),
        on_mask=lambda masked: st.session_state.update(masked=masked),
        value_format=attention_format(65) if signed is None else ValueFormat(title="Occlusion", signed=True),
        absolute_max=1 if signed is not None else attention_scale(attn[:, :, 0, 1:], 65)[1],
    )
    st.text(f"image {number}, pick {tuple(st.session_state.pick)}, masked {masked}")

part()
"""


@pytest.fixture(scope="module")
def inspector_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(INSPECTOR, tmp_path_factory.mktemp("inspector")) as address:
        yield address


def open_inspector(page: Page, app: str, query: str = "") -> Locator:
    """The picture, once the server's run is over."""
    page.goto(f"{app}?{query}")
    expect(page.get_by_text("image 0, pick")).to_be_visible()
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


def test_hovering_paints_the_patch_s_own_attention_and_sends_nothing(page: Page, inspector_app: str) -> None:
    sent: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    picture = open_inspector(page, inspector_app)
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


def test_the_numbers_are_those_of_the_attention(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app)
    rng = np.random.default_rng(0)
    rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    scores = np.exp(rng.normal(size=(65, 65)))
    attn = scores / scores.sum(-1, keepdims=True)
    page.get_by_text("The 8×8 values").click()
    cells = page.get_by_role("cell")
    shown = np.array([float(text) for text in cells.all_inner_texts()])
    np.testing.assert_allclose(shown, attn[0, 1:], atol=0.0005 + attn[0].max() / 510)
    page.get_by_label("Direction").select_option("attended by")
    picture.click(position=patch(picture, 5))
    expect(page.get_by_text("p5 attended by", exact=True)).to_be_visible()
    shown = np.array([float(text) for text in cells.all_inner_texts()])
    np.testing.assert_allclose(shown, attn[1:, 6], atol=0.0005 + attn.max() / 510)


def test_a_click_delivers_layer_head_and_token(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app, "layers=2&heads=3")
    picture.click(position=patch(picture, 30))
    expect(page.get_by_text("pick (0, 0, 31)")).to_be_visible()
    button = page.get_by_role("button", name="layer 2, head 3", exact=True)
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(page.get_by_text("pick (1, 2, 31)")).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", pressed=True)).to_have_count(1)
    page.get_by_role("button", name="layer 1, mean of all heads").click()
    expect(page.get_by_text("pick (0, 'mean', 31)")).to_be_visible()
    page.get_by_role("button", name="CLS").click()
    expect(page.get_by_text("pick (0, 'mean', 0)")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="layer 1, mean of all heads. CLS attends to")).to_have_count(1)


def test_arrow_keys_move_over_the_patches_and_escape_goes_back_to_cls(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app)
    picture.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        picture.press(key)
    expect(page.get_by_text("p2 attends to", exact=True)).to_be_visible()  # the edge holds
    expect(page.get_by_text("pick (0, 0, 3)")).to_be_visible()
    picture.press("Escape")
    expect(page.get_by_text("pick (0, 0, 0)")).to_be_visible()
    expect(page.get_by_role("button", name="CLS")).to_have_attribute("aria-pressed", "true")
    expect(picture).to_be_focused()


def test_quick_keys_are_not_undone_by_late_answers(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app)
    for number in range(9, 20):
        picture.click(position=patch(picture, number))
    expect(page.get_by_text("pick (0, 0, 20)")).to_be_visible()
    picture.press("ArrowRight")
    expect(page.get_by_text("p20 attends to", exact=True)).to_be_visible()
    expect(page.get_by_text("pick (0, 0, 21)")).to_be_visible()


def test_uniform_attention_paints_one_single_quiet_color(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app, "layers=2&heads=2&even=1")
    maps = painted_maps(page)
    assert len(maps) == 2 * 4
    for pixels in [painted(overlay(picture)), *maps]:
        colors = np.unique(pixels.reshape(-1, 4), axis=0)
        assert len(colors) == 1
        assert 0 < colors[0, :3].max() < 160  # a quarter up magma: neither its black nor its yellow end
    expect(page.get_by_text("The 5 strongest patches have 8% of the attention")).to_be_visible()
    expect(page.get_by_text("uniform 1/65 = 0.015")).to_be_visible()
    expect(page.get_by_text("This map spans 0.0% of the scale: its differences are hardly visible.")).to_be_visible()


def test_own_settings_survive_new_data(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app, "layers=1&heads=2")
    page.get_by_label("Colors").select_option("viridis")
    page.get_by_label("Scale").select_option("per-map scale")
    page.get_by_label("Overlay").fill("85")
    page.get_by_label("Grid").uncheck()
    expect(page.get_by_text("contrast exaggerated")).to_be_visible()
    before = painted(overlay(picture))
    page.get_by_role("button", name="Next image").click()
    expect(page.get_by_text("image 1, pick")).to_be_visible()
    assert (painted(overlay(picture)) != before).any()
    expect(page.get_by_label("Colors")).to_have_value("viridis")
    expect(page.get_by_label("Scale")).to_have_value("own")
    expect(page.get_by_label("Overlay")).to_have_value("85")
    expect(page.get_by_label("Grid")).not_to_be_checked()
    expect(overlay(picture)).to_have_css("mask-image", re.compile("^linear-gradient"))
    assert tuple(painted(overlay(picture)).reshape(-1, 4).min(0)[:3]) != (0, 0, 0)  # viridis knows no black


def test_a_click_masks_and_unmasks_patches_in_masking_mode(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app)
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


def test_a_signed_map_is_painted_round_0_with_its_own_legend(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app, "signed=1")
    colors = painted(overlay(picture)).reshape(-1, 4).astype(int)
    assert colors[0, 2] > colors[0, 0] and colors[-1, 0] > colors[-1, 2]  # blue below 0, red above
    assert np.ptp(colors[21, :3]) < 12  # 0 is neither
    expect(page.get_by_text("−1.000", exact=True)).to_be_visible()
    expect(page.get_by_text("+1.000", exact=True)).to_have_count(2)  # the scale's end, and the strongest patch
    picture.hover(position=patch(picture, 0))
    expect(page.get_by_text("p0: −0.500")).to_be_visible()
    expect(page.get_by_role("toolbar", name="Layer and head")).to_have_count(0)
    picture.click(position=patch(picture, 9))
    expect(page.get_by_text("pick (0, 0, 10)")).to_be_visible()


def test_a_scale_that_the_page_shares_runs_from_its_lowest_to_its_highest_value(page: Page, inspector_app: str) -> None:
    open_inspector(page, inspector_app, "layers=2&heads=2")
    page.get_by_label("Scale").select_option("page-wide scale")
    maps = np.stack(painted_maps(page)).astype(int)
    brightest, darkest = maps[..., :3].sum(-1).max((1, 2)), maps[..., :3].sum(-1).min((1, 2))
    assert brightest.max() == 252 + 253 + 191 and (brightest < brightest.max()).any()  # magma's two ends
    assert darkest.min() == 4 and (darkest > 4).any()
    expect(page.get_by_text(re.compile(r"The scale starts at 0\.\d+, not at 0\."))).to_be_visible()


def test_hovering_repaints_all_heads_without_the_server(page: Page, inspector_app: str) -> None:
    picture = open_inspector(page, inspector_app, "layers=6&heads=8")
    maps = page.get_by_role("toolbar", name="Layer and head").get_by_role("button")
    expect(maps).to_have_count(60)
    sent: list[object] = []
    page.on("request", lambda request: sent.append(request.url))
    before = painted_maps(page)
    picture.hover(position=patch(picture, 34))
    expect(page.get_by_text("p34 attends to", exact=True)).to_be_visible()  # the words come with the maps
    changed = [(new != old).any() for new, old in zip(painted_maps(page), before, strict=True)]
    assert len(changed) == 60 and all(changed) and sent == []


def test_a_title_from_outside_is_text(page: Page, inspector_app: str) -> None:
    open_inspector(page, inspector_app)
    expect(page.get_by_text(MARKUP)).to_be_visible()
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_it_is_accessible_and_stays_inside_the_page(page: Page, inspector_app: str) -> None:
    page.goto(f"{inspector_app}?layers=6&heads=8")
    expect(page.get_by_label("Overlay")).to_be_visible()
    expect_components_for_everybody(page)


def test_quantized_rows_come_back_to_half_a_step() -> None:
    rng = np.random.default_rng(0)
    attn = rng.dirichlet(np.full(65, 0.3), size=(2, 3, 65)).astype(np.float32)
    values, scales = quantized(attn)
    assert values.nbytes == 2 * 2 * 3 * 65 * 65 and scales.shape == (2, 3, 65)
    off = np.abs(values / 65535 * scales[..., None] - attn)
    assert (off <= scales[..., None] / 125000).all()  # half a step, and rounding to float32
