"""Home's picture alone in a browser, without a server; its animation is driven frame by frame."""

import numpy as np
from playwright.sync_api import Locator, Page, expect

from pages.parts.components.hero import hero
from tests.browser.canvases import expect_colors, painted
from tests.browser.conftest import Mount

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)  # 4 × 4 patches of 2 × 2 pixels
MAPS = RNG.random((3, 16)).astype(np.float32)
CUT_MS, TRAIN_MS = 900, 3200

# Time stands still, and the next frame is drawn by `frame(milliseconds since the start)`.
STAND_STILL = "() => { performance.now = () => 0; window.requestAnimationFrame = (step) => (window.frame = step); }"


def draw(mount: Mount) -> None:
    names = ["untrained", "epoch 1", "epoch 4"]
    with mount("hero"):
        hero(IMAGE, MAPS, key="hero", title="frog", checkpoints=names, scale=(0, 1), uniform=1 / 17)


def expect_map(page: Page, values: np.ndarray, name: str) -> None:
    panel = page.get_by_role("img", name="Attention at epoch 4")
    expect_colors(painted(panel.locator("canvas")).reshape(-1, 4)[:, :3].astype(int), values, 0, "magma", 1)
    expect(panel).to_contain_text(f"attention, {name}")


def pieces(page: Page) -> Locator:
    return page.get_by_role("img", name="The image cut into patches").locator("canvas")


def test_the_image_comes_apart_and_between_two_checkpoints_the_map_is_between_theirs(page: Page, mount: Mount) -> None:
    draw(mount)
    page.evaluate(STAND_STILL)
    page.get_by_role("button", name="Play again").click()
    expect_map(page, MAPS[0], "untrained")
    enlarged = IMAGE.transpose(1, 2, 0).repeat(8, axis=0).repeat(8, axis=1)
    np.testing.assert_array_equal(painted(pieces(page))[..., :3], enlarged)
    for trained, name in ((0, "untrained"), (0.2, "untrained"), (0.75, "epoch 1"), (1, "epoch 1"), (1.75, "epoch 4")):
        page.evaluate("(ms) => frame(ms)", CUT_MS + TRAIN_MS * trained / 2)
        first, share = int(trained), trained % 1
        expect_map(page, (1 - share) * MAPS[first] + share * MAPS[first + 1], name)
    patches = painted(pieces(page))
    assert (patches[::16, :, 3] == 0).all() and (patches[:, ::16, 3] == 0).all()  # gaps between the patches
    np.testing.assert_array_equal(patches[5::16, 5::16, :3], IMAGE.transpose(1, 2, 0)[::2, ::2])
    np.testing.assert_array_equal(patches[10::16, 10::16, :3], IMAGE.transpose(1, 2, 0)[1::2, 1::2])


def test_training_ends_with_the_last_checkpoint_and_does_not_play_where_less_motion_is_wanted(
    page: Page, mount: Mount
) -> None:
    draw(mount)
    page.evaluate(STAND_STILL)
    page.get_by_role("button", name="Play again").click()
    page.evaluate("(ms) => { const step = frame; window.frame = null; step(ms); }", CUT_MS + TRAIN_MS)
    expect_map(page, MAPS[2], "epoch 4")
    assert page.evaluate("frame") is None  # no more are drawn
    page.emulate_media(reduced_motion="reduce")
    draw(mount)
    expect_map(page, MAPS[2], "epoch 4")
    expect(page.get_by_role("button", name="Play again")).to_be_hidden()
