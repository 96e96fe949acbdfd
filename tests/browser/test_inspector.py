"""The inspector alone in a browser, without a server: numbers, maps and clicks are those of their layer and head."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from minivit.attention import Head, attend
from minivit.config import preset
from minivit.data import load_split
from minivit.figures import attention_scale
from minivit.model import MiniViT
from minivit.runs import EXAMPLE, Run
from minivit.stats import rank_correlation
from pages.parts.components.inspector import HeadInView, ValueFormat, View, attention_format, inspector
from tests.browser.canvases import expect_colors, painted, painted_maps, read_off
from tests.browser.conftest import Mount

TOP = 0.25
MARKUP = "<img src=x onerror=alert(1)>"
Draw = Callable[..., None]
PLACES: list[tuple[int, Head]] = [(layer, head) for layer in range(2) for head in (0, 1, "mean", "max")]


def attention() -> NDArray[np.float32]:
    """Of 2 layers of 2 heads over 4×4 patches, (2, 2, 17, 17)."""
    return np.random.default_rng(0).dirichlet(np.full(17, 0.8), (2, 2, 17)).astype(np.float32)


def of_head(values: NDArray[np.float32], layer: int, head: Head) -> NDArray[np.float32]:
    """One layer's matrix (N, N) by one head, or the mean or maximum over heads."""
    if head == "mean":
        return values[layer].mean(0)
    return values[layer].max(0) if head == "max" else values[layer, head]


@pytest.fixture
def draw(mount: Mount) -> Draw:
    """Draws the inspector as the Attention page does."""

    def draw(values: NDArray[np.float32] | HeadInView | None = None, **changed: Any) -> None:
        view = {"layer": 0, "head": 0, "token": 0, "masked": ()}
        options = {"patch_size": 8, "absolute_max": TOP, "value_format": attention_format(17)}
        options |= {"key": "inspector", "title": "image 1"}
        with mount("inspector"):
            image = np.zeros((3, 32, 32), np.uint8)
            position = View(**{name: changed.pop(name, value) for name, value in view.items()})
            inspector(image, attention() if values is None else values, position, **options | changed)

    return draw


def expect_maps(page: Page, part: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    """Each map of the grid is that part of its layer's and head's matrix, patch by patch from the middle of cells."""
    for pixels, (layer, head) in zip(painted_maps(page), PLACES, strict=True):
        middle = ((np.arange(4) + 0.5) * len(pixels) / 4).astype(int)
        values = part(of_head(attention(), layer, head))
        expect_colors(pixels[middle][:, middle].reshape(-1, 4)[:, :3].astype(int), values, 0, "magma", TOP)


def expect_picture(page: Page, values: NDArray[np.float32]) -> None:
    """The map over the picture."""
    overlay = page.get_by_role("application").locator("canvas").nth(1)
    expect_colors(painted(overlay).reshape(-1, 4)[:, :3].astype(int), values, 0, "magma", TOP)


@pytest.mark.parametrize("token", [0, 1, 16])
def test_every_map_is_the_row_of_the_token_in_its_layer_and_head(page: Page, draw: Draw, token: int) -> None:
    draw(layer=1, head=1, token=token)
    expect_maps(page, lambda matrix: matrix[token, 1:])
    expect_picture(page, attention()[1, 1, token, 1:])
    pressed = page.get_by_role("toolbar").get_by_role("button", pressed=True)
    expect(pressed).to_have_accessible_name("layer 2, head 2")


def expect_table(page: Page, values: NDArray[np.float32]) -> None:
    """The numbers of the patches, two digits of 255 steps."""
    shown = [float(text) for text in page.get_by_role("cell").all_inner_texts()]
    np.testing.assert_allclose(shown, values, atol=0.005 + attention().max() / 510)


def test_the_values_stand_in_a_table_and_the_other_direction_shows_the_column(page: Page, draw: Draw) -> None:
    draw(head="mean", token=3)
    page.get_by_text("The 4×4 values").click()
    expect_table(page, attention()[0].mean(0)[3, 1:])
    page.get_by_label("Direction").select_option("attended by")
    expect_table(page, attention()[0].mean(0)[1:, 3])
    expect_maps(page, lambda matrix: matrix[1:, 3])
    expect_picture(page, attention()[0].mean(0)[1:, 3])
    received = attention()[0].mean(0)[:, 3].sum()
    expect(page.get_by_text(f"This token receives {received:.2f} from all 17 tokens")).to_be_visible()


def test_a_hovered_patch_shows_its_own_map_and_values(page: Page, draw: Draw) -> None:
    draw(layer=1, head="max", token=0)
    picture = page.get_by_role("application")
    box = picture.bounding_box()
    assert box
    picture.hover(position={"x": box["width"] * 2.5 / 4, "y": box["height"] * 1.5 / 4})  # row 2, column 3: p6, token 7
    row, of_cls = (of_head(attention(), 1, "max")[token] for token in (7, 0))
    expect(page.get_by_text("p6 attends to", exact=True)).to_be_visible()
    expect_picture(page, row[1:])
    expect_maps(page, lambda matrix: matrix[7, 1:])
    strongest = np.argsort(-row[1:])[:5]
    entries = page.get_by_role("listitem").all_inner_texts()
    assert [entry.split()[0] for entry in entries] == [*(f"p{patch}" for patch in strongest), "CLS"]
    numbers = [[float(part.rstrip("×")) for part in entry.split()[1:]] for entry in entries]
    wanted = np.array([row[token] for token in [*(strongest + 1), 0]])
    np.testing.assert_allclose(numbers, np.stack([wanted, wanted * 17], 1), atol=0.06)
    np.testing.assert_allclose([value for value, _ in numbers], wanted, atol=0.003)
    expect(page.get_by_text(f"CLS attends to p6: {of_cls[7]:.2f}")).to_be_visible()


def test_of_a_large_model_the_picture_follows_the_head_in_view_and_the_maps_the_selected_token(
    page: Page, draw: Draw
) -> None:
    rows, matrix = attention()[:, :, 3], attention()[1].mean(0)
    draw(HeadInView(rows, matrix), layer=1, head="mean", token=3)
    expect_maps(page, lambda matrix: matrix[3, 1:])
    expect_picture(page, matrix[3, 1:])
    picture = page.get_by_role("application")
    box = picture.bounding_box()
    assert box
    picture.hover(position={"x": box["width"] * 2.5 / 4, "y": box["height"] * 1.5 / 4})  # p6
    expect(page.get_by_text("p6 attends to", exact=True)).to_be_visible()
    expect_picture(page, matrix[7, 1:])
    expect_maps(page, lambda matrix: matrix[3, 1:])
    page.get_by_label("Direction").select_option("attended by")
    expect_picture(page, matrix[1:, 7])
    page.get_by_role("button", name="layer 1, head 2").click()
    expect_picture(page, rows[0, 1, 1:])  # until the server sends this head's matrix


def test_masked_patches_are_clear_in_every_map(page: Page, draw: Draw) -> None:
    draw(masked=(1, 8))
    for pixels in painted_maps(page):
        middle = ((np.arange(4) + 0.5) * len(pixels) / 4).astype(int)
        alpha = pixels[middle][:, middle, 3].ravel()
        assert np.flatnonzero(alpha == 0).tolist() == [0, 7]


def test_clicks_send_the_layer_the_head_the_token_and_the_masked_patches(page: Page, draw: Draw) -> None:
    draw()
    picture = page.get_by_role("application")
    box = picture.bounding_box()
    assert box
    last = {"x": box["width"] * 3.5 / 4, "y": box["height"] * 3.5 / 4}
    picture.click(position=last)
    expect_sent(page, ["picked", {"layer": 0, "head": 0, "token": 16}])
    page.get_by_role("button", name="layer 2, mean over heads").click()
    expect_sent(page, ["picked", {"layer": 1, "head": "mean", "token": 16}])
    page.get_by_label("Mask patches").check()
    picture.click(position=last)
    expect_sent(page, ["masked", [16]])


def expect_sent(page: Page, wanted: list[object]) -> None:
    page.wait_for_function("wanted => JSON.stringify(window.sent?.at(-1)) === JSON.stringify(wanted)", arg=wanted)


def test_uniform_attention_paints_one_single_quiet_color(page: Page, draw: Draw) -> None:
    even = np.full((2, 2, 65, 65), 1 / 65, np.float32)
    top = attention_scale(even[:, :, 0, 1:], 65)[1]
    draw(even, patch_size=4, absolute_max=top, value_format=attention_format(65), title=MARKUP)
    maps = painted_maps(page)
    assert len(maps) == 2 * 4
    for pixels in [painted(page.get_by_role("application").locator("canvas").nth(1)), *maps]:
        colors = np.unique(pixels.reshape(-1, 4), axis=0)
        assert len(colors) == 1
        assert 0 < colors[0, :3].max() < 160  # a quarter up magma: neither its black nor its yellow end
    expect(page.get_by_text("The 5 strongest patches have 8% of the attention")).to_be_visible()
    expect(page.get_by_text("uniform 1/65 = 0.015")).to_be_visible()
    expect(page.get_by_text("This map spans 0.0% of the scale: its differences are hardly visible.")).to_be_visible()
    expect(page.get_by_text(MARKUP)).to_be_visible()  # a title from outside is text
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_a_scale_that_the_page_shares_runs_from_its_lowest_to_its_highest_value(page: Page, draw: Draw) -> None:
    draw(np.random.default_rng(0).dirichlet(np.full(17, 8), (2, 2, 17)).astype(np.float32))
    page.get_by_label("Scale").select_option("page-wide scale")
    maps = np.stack(painted_maps(page)).astype(int)
    brightest, darkest = maps[..., :3].sum(-1).max((1, 2)), maps[..., :3].sum(-1).min((1, 2))
    assert brightest.max() == 252 + 253 + 191 and (brightest < brightest.max()).any()  # magma's two ends
    assert darkest.min() == 4 and (darkest > 4).any()
    expect(page.get_by_text(re.compile(r"The scale starts at 0\.\d+, not at 0\."))).to_be_visible()


def test_a_signed_map_counts_the_patches_that_increase_and_decrease_the_logit(page: Page, mount: Mount) -> None:
    values = np.linspace(-1, 0.5, 16, dtype=np.float32)
    with mount("inspector"):
        inspector(
            np.zeros((1, 32, 32), np.uint8),
            values,
            View(0, 0, 0),
            patch_size=8,
            key="inspector",
            absolute_max=1,
            value_format=ValueFormat(title="Occlusion", signed=True, decimals=2),
        )
    overlay = page.get_by_role("application").locator("canvas").nth(1)
    expect_colors(painted(overlay).reshape(-1, 4)[:, :3].astype(int), values, -1, "RdBu", 1)
    up, down = values[values > 0], values[values < 0]
    expect(
        page.get_by_text(
            f"{len(up)} patches increase the logit, +{up.sum():.2f} in total; "
            f"{len(down)} patches decrease the logit, −{-down.sum():.2f} in total."
        )
    ).to_be_visible()
    for text, count in (("−1.00", 2), ("+1.00", 1)):  # the ends of the scale, and the strongest patch
        expect(page.get_by_text(text, exact=True)).to_have_count(count)
    expect(page.get_by_role("toolbar", name="Layer and head")).to_have_count(0)
    picture = page.get_by_role("application")
    picture.hover(position={"x": 1, "y": 1})
    expect(page.get_by_text("p0: −1.00")).to_be_visible()
    picture.click(position={"x": 1, "y": 1})
    expect_sent(page, ["picked", {"layer": 0, "head": 0, "token": 1}])


def test_the_legend_of_a_map_without_a_uniform_value_says_so(page: Page, mount: Mount) -> None:
    with mount("inspector"):
        inspector(
            np.zeros((1, 32, 32), np.uint8),
            np.linspace(0, 1, 16, dtype=np.float32),
            View(0, 0, 0),
            patch_size=8,
            key="inspector",
            absolute_max=1,
            value_format=ValueFormat(title="Class relevance", meaning="relevance."),
        )
    expect(page.get_by_text("Class relevance: relevance. It has no uniform value.")).to_be_visible()


def real_attention(name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
    """An image, its attention (L, H, N, N) in a model, and the end of the run's scale."""
    example = Run.open(EXAMPLE)
    images = load_split(example.config)[1].images[:32]
    if name == "quick":
        torch.manual_seed(0)
        model = MiniViT(preset("quick").model).eval()
    else:
        model = example.load_model(int(name))
    newest = model if name == "quick" else example.load_model()
    rows = attend(newest, images)[1][:, :, :, 0, 1:].numpy()
    return images[0].numpy(), attend(model, images[:1])[1][0].numpy(), attention_scale(rows, model.config.num_tokens)[1]


@pytest.mark.parametrize(
    ("name", "least"), [("0", 0.98), ("20", 0.98), ("quick", 0.9)], ids=["untrained", "trained", "almost uniform"]
)
def test_the_values_can_be_read_off_the_legend_from_the_pixels_of_the_overlay(
    page: Page, mount: Mount, name: str, least: float
) -> None:
    """The mean over the eight heads of `quick` spans half a step of 255 colors, and the legend names it."""
    image, values, high = real_attention(name)
    with mount("inspector"):
        inspector(
            image,
            values,
            View(0, "mean", 0),
            patch_size=4,
            absolute_max=high,
            value_format=attention_format(values.shape[-1]),
            key="inspector",
            title="image 1",
        )
    wanted = values[0, :, 0, 1:].mean(0)
    picture, legend = page.get_by_role("application"), page.locator(".legend-bar")
    for overlay, within in ((None, 0.5), (None, 0.1), ("60", 0.1)):
        if overlay:
            page.get_by_label("Overlay").fill(overlay)
        values_read = high * read_off(picture, legend, 8, within)
        assert np.abs(values_read - wanted).mean() <= 0.02 * high
        correlation = rank_correlation(torch.tensor(values_read)[None], torch.tensor(wanted)[None])
        assert correlation.item() >= least, (overlay, within)
    gray = image.transpose(1, 2, 0) @ [0.2126, 0.7152, 0.0722]  # the image between the edges of the map
    pixels = painted(picture.locator("canvas").first)[..., :3]
    np.testing.assert_allclose(pixels, np.repeat(gray[..., None], 3, axis=2), atol=1)
    expect(page.get_by_text(re.compile(r"This map spans 0\.\d% of the scale"))).to_have_count(int(name == "quick"))
