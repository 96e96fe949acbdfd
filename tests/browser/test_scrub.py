"""The slider over training alone in a browser, without a server: what it paints is what Python gave it."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from minivit.attention.over_training import MAP_METRICS, AttentionOverTraining
from minivit.config import TrainConfig
from minivit.runs import Checkpoint, Run
from pages.parts.components.scrub import Column, Difference, RunMaps, scrub
from tests.browser.browsing import watched
from tests.browser.canvases import expect_colors, painted
from tests.browser.conftest import Mount

Draw = Callable[..., None]

MOMENTS = [Checkpoint(0), Checkpoint(0, 2), Checkpoint(1)]
HIGH = 4.0  # of the scale, in multiples of uniform
SAID = np.array([[0, 1], [1, 1], [1, 0]])  # of each image at each checkpoint, by class


def over_training(grid: int, seed: int, moments: list[Checkpoint] = MOMENTS) -> AttentionOverTraining:
    """Of 2 images and 2 maps each, at three checkpoints or more."""
    rng = np.random.default_rng(seed)
    maps = rng.random((len(moments), 2, 2, grid**2)).astype(np.float32) * 2 * HIGH / (grid**2 + 1)
    figures = {name: np.zeros((len(moments), 2), np.float32) for name in MAP_METRICS}
    probs = np.eye(2, dtype=np.float32)[SAID[np.arange(len(moments)) % len(SAID)]]
    return AttentionOverTraining(moments, maps, probs, maps.mean(1) / 2, figures, [])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own, as one test sets the clock, which would stay for all tests of the shared tab."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        with watched(page):
            yield page


@pytest.fixture
def draw(page: Page, mount: Mount, tiny: TrainConfig, tmp_path: Path) -> Draw:
    """Draws histories of runs as the Compare page does."""

    def draw(
        histories: Sequence[AttentionOverTraining], columns: Sequence[Column], difference: Difference | None
    ) -> None:
        run = Run.create(tiny, tmp_path)
        images = np.zeros((2, 3, 32, 32), np.uint8)
        with mount("scrub", "board"):
            scrub(
                images,
                [RunMaps(run, snapshots, ["mean", "1"]) for snapshots in histories],
                columns,
                difference=difference,
                labels=[0, 1],
                titles=["a", "b"],
                scale=(0, HIGH if len(histories) > 1 else HIGH / 17),
                start=MOMENTS[-1],
                num_measured=2,
                key="scrub",
            )

    return draw


def shown(page: Page, image: int, column: int) -> NDArray[np.int64]:
    """The colors of a map, (patches, 3); each cell has a canvas of the image below that of its map."""
    line = page.get_by_role("button", name=f"image {image + 1}, ")
    return painted(line.locator("canvas").nth(2 + 2 * column)).reshape(-1, 4)[:, :3].astype(int)


def to_frame(page: Page, frame: int) -> None:
    page.get_by_role("slider", name="Checkpoint").fill(str(frame))


def test_each_column_shows_its_run_its_map_and_its_checkpoint(page: Page, draw: Draw) -> None:
    snapshots = over_training(4, seed=0)
    columns = [Column("untrained", checkpoint=MOMENTS[0]), Column("now", map=1), Column("after", checkpoint=MOMENTS[2])]
    draw([snapshots], columns, Difference(1, 0))
    for frame in (2, 0, 1):
        to_frame(page, frame)
        for image in range(2):
            maps = [snapshots.maps[0, image, 0], snapshots.maps[frame, image, 1], snapshots.maps[2, image, 0]]
            for column, values in enumerate(maps):
                expect_colors(shown(page, image, column), values, 0, "magma", HIGH / 17)
            expect_colors(shown(page, image, 3), maps[1] - maps[0], -HIGH / 17, "RdBu", HIGH / 17)
    expect(page.get_by_text("Difference: now − untrained. Blue is less, red is more.", exact=True)).to_be_visible()
    for image, name in (
        (0, "untrained: .*, correct; now: .*, incorrect"),
        (1, "untrained: .*, correct; now: .*, correct"),
    ):
        assert SAID[0, image] == image and (SAID[1, image] == image) == name.endswith(", correct")
        expect(page.get_by_role("button", name=f"image {image + 1}, ")).to_have_accessible_name(re.compile(name))


def test_what_a_map_has_beyond_the_average_is_signed(page: Page, draw: Draw) -> None:
    snapshots = over_training(4, seed=0)
    draw([snapshots], [Column("now")], None)
    page.get_by_label("Show").select_option("minus the average map")
    to_frame(page, 1)
    expect_colors(shown(page, 1, 0), snapshots.maps[1, 1, 0] - snapshots.mean_map[1, 0], -HIGH / 17, "RdBu", HIGH / 17)
    expect(page.get_by_text("Map − average map of 2 test images. Blue is less, red is more.")).to_be_visible()
    expect(page.get_by_label("Overlay")).to_have_value("100")  # colors as in the legend, not mixed with the image
    page.get_by_label("Scale").select_option("per-map scale")
    expect(page.get_by_text("Per-map scale: contrast exaggerated")).to_be_visible()


def test_two_runs_that_cut_images_differently_are_subtracted_on_a_common_grid(page: Page, draw: Draw) -> None:
    coarse, fine = over_training(2, seed=1), over_training(4, seed=2)
    draw([coarse, fine], [Column("first run", run=0), Column("second run", run=1)], Difference(1, 0))
    to_frame(page, 1)
    spread = np.kron(coarse.maps[1, 0, 0].reshape(2, 2), np.full((2, 2), 1 / 4)).ravel()  # of 1 patch 4 cells
    assert spread.sum() == pytest.approx(coarse.maps[1, 0, 0].sum())
    expect_colors(shown(page, 0, 0), coarse.maps[1, 0, 0] * 5, 0, "magma", HIGH)
    expect_colors(shown(page, 0, 1), fine.maps[1, 0, 0] * 17, 0, "magma", HIGH)
    expect_colors(shown(page, 0, 2), (fine.maps[1, 0, 0] - spread) * 17, -HIGH, "RdBu", HIGH)
    expect(
        page.get_by_text("In multiples of 1/17, both on 4×4 cells: each patch's attention is divided")
    ).to_be_visible()


def test_a_click_sends_the_image_and_the_frame(page: Page, draw: Draw) -> None:
    draw([over_training(4, seed=0)], [Column("now")], None)
    to_frame(page, 1)
    page.get_by_role("button", name="image 2, ").click()
    assert page.evaluate("window.sent") == [["opened", {"image": 1, "frame": 1}]]


def test_play_loops_rests_at_epoch_1_and_has_keys(page: Page, draw: Draw) -> None:
    page.clock.install(time=0)
    draw([over_training(4, seed=0, moments=[*MOMENTS, Checkpoint(2)])], [Column("now")], None)
    play, slider = page.get_by_role("button", name="Play"), page.get_by_role("slider", name="Checkpoint")
    for key, frame in (("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("End", 3)):
        play.press(key)
        expect(slider).to_have_value(str(frame))
    page.clock.pause_at(601)  # a multiple of a frame after 1 s, and later than all that came before
    play.press("Space")  # from the start, at 30 frames a second
    for milliseconds, frame in ((40, 1), (60, 2), (800, 2), (200, 3), (800, 3), (200, 0)):
        page.clock.run_for(milliseconds)
        expect(slider).to_have_value(str(frame))
    slider.press("Space")
    expect(play).to_have_attribute("aria-pressed", "false")
    page.emulate_media(reduced_motion="reduce")
    play.press("Space")
    page.clock.run_for(5000)
    expect(slider).to_have_value("3")  # the end, where it stops
    expect(play).to_have_attribute("aria-pressed", "false")
