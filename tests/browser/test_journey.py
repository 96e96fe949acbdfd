"""The main job through the pages alone: choose, train, watch, browse, look inside, compare; every view comes back."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from minivit.inference import predict_run
from minivit.runs import Run
from tests.browser.browsing import choose, drawn, settle, watched
from tests.browser.conftest import draw_folder
from tests.browser.server import Server, until

NUM_EPOCHS = 12


@pytest.fixture(scope="module")
def machine(new_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A machine on which nobody has trained anything and no data lies."""
    server = new_server(data=tmp_path_factory.mktemp("empty"))
    server.start()
    return server


@pytest.fixture(scope="module")
def journey_run(machine: Server, tab: Page, pictures: Path) -> Run:
    """The run that a person makes by clicking; the tests after the first look at it."""
    page = tab
    page.set_viewport_size({"width": 1280, "height": 1000})
    with watched(page):
        machine.open(page)
        expect(page.get_by_text("None yet.")).to_be_visible()
        expect(page.get_by_role("button", name="Train the article baseline on synthetic shapes")).to_be_visible()
        page.get_by_role("region", name="Sidebar").get_by_role("link", name="Train").click()
        fill_in_the_form(page, pictures)
        assert machine.all_runs() == []  # choosing starts nothing
        page.get_by_role("button", name="Start training").click()
        expect(page).to_have_url(re.compile(r"train\?run=\d{8}-\d{6}-star-circle-cross$"))
        expect(page.get_by_text(f"epoch {NUM_EPOCHS} of {NUM_EPOCHS} ")).to_be_visible()
        expect(page.get_by_role("paragraph").get_by_text("done")).to_be_visible()
        until(lambda: points(loss_curve(page)) == list(range(NUM_EPOCHS + 1)), "the curve has all epochs")
        expect(page.get_by_role("button", name=re.compile("Pause|Stop|Resume"))).to_have_count(0)
    (run,) = machine.all_runs()
    return run


def fill_in_the_form(page: Page, pictures: Path) -> None:
    choose(page, "Data set", "Your own images (folder)")
    folder = page.get_by_role("textbox", name="Folder")
    folder.fill(str(pictures))
    folder.press("Enter")
    settle(page)
    classes = page.get_by_role("group", name="Selected values").get_by_role("button")
    expect(classes).to_have_count(3)
    page.get_by_role("button", name="Clear all").click()
    expect(page.get_by_role("alert")).to_contain_text("A classifier needs at least 2 classes, and none is selected.")
    for name in ("star", "circle", "cross"):  # not the folder's order
        choose(page, "Classes", name)
    page.keyboard.press("Escape")  # the list of classes stays open for more
    epochs = page.get_by_role("spinbutton", name="Epochs").first
    epochs.fill(str(NUM_EPOCHS))
    epochs.press("Enter")
    heads = page.get_by_role("spinbutton", name="Heads")
    heads.fill("2")
    heads.press("Enter")
    settle(page)
    expect(page.get_by_text("parameters ·")).to_have_text(
        re.compile(r"^28,611 parameters · 480 training images · ≈ .* (s|min) on this machine$")
    )


def loss_curve(page: Page) -> Locator:
    return page.locator(".chart").filter(has=page.get_by_role("slider", name="loss by epoch")).locator(".plot")


def points(plot: Locator) -> list[int]:
    """Epochs that the test curve of a chart shows."""
    return plot.evaluate_all("(plots) => [...(plots[0]?._fullData?.[1].x ?? [])]")


def test_a_user_trains_a_model_by_clicking(journey_run: Run) -> None:
    assert journey_run.state.phase == "done"
    assert journey_run.config.classes == ("star", "circle", "cross")
    assert (journey_run.config.epochs, journey_run.config.model.num_heads) == (NUM_EPOCHS, 2)
    assert [row["epoch"] for row in journey_run.metrics()] == list(range(NUM_EPOCHS + 1))
    until(lambda: not journey_run.is_worker_alive(), "the worker ends")


def test_the_gallery_shows_what_a_cell_of_the_confusion_matrix_counts(
    page: Page, machine: Server, journey_run: Run
) -> None:
    counts = predict_run(journey_run).confusion.tolist()
    machine.open(page, "predictions", run=journey_run.id)
    images = page.get_by_role("group", name="Test images").get_by_role("button")
    expect(images).to_have_count(96)
    expect(images.first).to_contain_text(re.compile(r"T: (star|circle|cross)P: (star|circle|cross)[✓✗]\d+%"))
    confused = [(true, other) for true in range(3) for other in range(3) if true != other and counts[true][other]]
    true, predicted = confused[0]
    names = journey_run.config.classes
    cell = page.get_by_role("button", name=re.compile(f"^true {names[true]}, predicted {names[predicted]}:"))
    cell.click()
    expect(images).to_have_count(counts[true][predicted])
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile(f"true={names[true]}&predicted={names[predicted]}"))
    page.reload()
    settle(page)
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(images).to_have_count(counts[true][predicted])
    for image in images.all():
        expect(image).to_have_accessible_name(
            re.compile(f"true {names[true]}, predicted {names[predicted]}, incorrect")
        )
    cell.click()
    expect(images).to_have_count(96)
    expect(page).not_to_have_url(re.compile("true="))


def test_an_image_is_looked_into_patch_by_patch_and_the_view_comes_back_anywhere(
    page: Page, machine: Server, journey_run: Run
) -> None:
    machine.open(page, "predictions", run=journey_run.id)
    page.get_by_role("group", name="Test images").get_by_role("button").nth(7).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Attention")
    picture = page.get_by_role("application", name=re.compile("^Image 7,"))
    box = picture.bounding_box()
    assert box
    picture.click(position={"x": box["width"] * 3.5 / 8, "y": box["height"] * 2.5 / 8})  # row 3, column 4 of 8
    page.get_by_role("button", name="layer 1, head 2").click()
    wanted = {"run": journey_run.id, "epoch": NUM_EPOCHS, "image": 7, "layer": 1, "head": 2, "token": "p19"}
    for name, value in wanted.items():
        expect(page).to_have_url(re.compile(rf"[?&]{name}={value}(&|$)"))
    settle(page)
    expect_view(page)
    strongest = page.get_by_role("listitem").all_inner_texts()
    link = page.url
    page.reload()  # the server makes a new session, as for anybody else with this link
    expect_view(page)
    assert page.get_by_role("listitem").all_inner_texts() == strongest
    assert page.url == link  # nothing is added or lost


def expect_view(page: Page) -> None:
    expect(page.get_by_role("application", name=re.compile("^Image 7,"))).to_be_visible()
    expect(page.get_by_text("p19 attends to", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="layer 1, head 2")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider", name="Epoch")).to_have_attribute("aria-valuetext", str(NUM_EPOCHS))


def test_untrained_and_trained_are_compared_on_one_scale_that_marks_the_uniform_value(
    page: Page, machine: Server, journey_run: Run
) -> None:
    machine.open(page, "compare", run=journey_run.id)
    expect(page.get_by_text("Attention, one scale for all maps.")).to_be_visible()
    expect(page.get_by_text("uniform 1/65 = 0.0154")).to_be_visible()
    expect(page.get_by_text("Difference: selected checkpoint − untrained.")).to_be_visible()
    rows = page.get_by_role("button", name=re.compile("untrained: .*; selected checkpoint: "))
    expect(rows).to_have_count(8)
    choose(page, "Images", "Incorrect before, correct after")
    choose(page, "Head", "2")
    before, after = predict_run(journey_run, 0).correct, predict_run(journey_run).correct
    num_corrected = min(8, int((~before & after).sum()))
    stages = "untrained: [^;]*, incorrect; selected checkpoint: [^;]*, correct$"
    corrected = page.get_by_role("button", name=re.compile(stages))
    expect(corrected).to_have_count(num_corrected)
    expect(rows).to_have_count(num_corrected)
    expect(page).to_have_url(re.compile("head=2"))
    names = [row.get_attribute("aria-label") for row in rows.all()]
    page.reload()
    settle(page)
    expect(page.get_by_role("combobox", name="Images")).to_have_value("Incorrect before, correct after")
    expect(page.get_by_role("combobox", name="Head")).to_have_value("2")
    expect(rows).to_have_count(num_corrected)
    assert [row.get_attribute("aria-label") for row in rows.all()] == names
    expect(page.get_by_text("contrast exaggerated")).to_be_hidden()  # no map has a scale of its own
    rows.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Attention")
    expect(page).to_have_url(re.compile(r"head=2(&|$)"))


def test_training_is_scrubbed_in_the_browser_without_asking_the_server(
    page: Page, machine: Server, journey_run: Run
) -> None:
    sent: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    machine.open(page, "compare", run=journey_run.id, head="each")
    slider = page.get_by_role("slider", name="Checkpoint")
    expect(slider).to_have_attribute("aria-valuetext", f"epoch {NUM_EPOCHS} of {NUM_EPOCHS}")
    row = page.get_by_role("button", name=re.compile("^image 1, "))
    settle(page)
    num_sent = len(sent)
    assert num_sent
    last = len(journey_run.checkpoints()) - 1
    drawn, height = set(), page.locator(".board").bounding_box()
    for frame in range(last + 1):
        slider.fill(str(frame))
        drawn.add(row.locator("canvas").nth(2).evaluate("(map) => map.toDataURL()"))
        assert page.locator(".board").bounding_box() == height  # nothing jumps
    assert len(drawn) > 0.9 * last  # a map of its own at nearly every checkpoint
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "untrained")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "epoch 0, step 2")
    play = page.get_by_role("button", name="Play")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "true")
    expect(slider).to_have_value(str(last))  # the end, from where it starts again
    play.click()
    expect(play).to_have_attribute("aria-pressed", "false")
    loss = page.get_by_role("img", name=re.compile("^loss over training: train .* to "))
    loss.click(position={"x": 1, "y": 20})  # a frame is about a pixel wide
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^untrained$|, step [12]$"))
    slider.fill("1")
    expect(page).to_have_url(re.compile(r"checkpoint=0\.1(&|$)"))
    assert len(sent) == num_sent
    page.reload()
    expect(slider).to_have_attribute("aria-valuetext", "epoch 0, step 1")
    choose(page, "Images", "Incorrect after")  # the server's work, and the checkpoint stays
    expect(slider).to_have_attribute("aria-valuetext", "epoch 0, step 1")
    expect(page).to_have_url(re.compile(r"checkpoint=0\.1(&|$)"))


def test_a_zip_of_photographs_is_unpacked_trained_on_and_looked_at(page: Page, machine: Server, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos" / "pets", ("cat", "dog", "<b>frog"), 67)
    (tmp_path / "photos" / "pets" / "cat" / "notes.txt").touch()
    archive = shutil.make_archive(str(tmp_path / "my photos"), "zip", tmp_path / "photos")
    machine.open(page, "data")
    page.get_by_text("Upload your photos").click()
    page.locator(".st-key-data_zip input[type=file]").set_input_files(archive)
    page.get_by_role("button", name="Unpack").click()
    expect(page.get_by_text("201 images were added to my photos.")).to_be_visible()
    expect(page.get_by_text("Left out:")).to_be_visible()
    expect(page.get_by_text("1 .txt files, such as pets/cat/notes.txt")).to_be_visible()
    drawn(page)
    expect(page.get_by_role("group", name="Samples", exact=True)).to_be_visible()
    page.get_by_role("region", name="Sidebar").get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
    settle(page)
    expect(page.get_by_role("combobox", name="Data set")).to_have_value("my photos (uploaded)")
    choose(page, "Preset", "quick")
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile("run=.*-b-frog-cat-dog"))
    until(lambda: machine.all_runs()[0].state.phase == "done", "the training is done")
    machine.open(page, "attention", run=machine.all_runs()[0].id)
    expect(page.get_by_text("True class: <b>frog").or_(page.get_by_text("True class: cat")).first).to_be_visible()
    expect(page.get_by_role("application")).to_be_visible()
