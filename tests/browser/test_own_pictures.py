"""A user's own picture on Attention: dropped, pasted or chosen with the keyboard, and kept for a link."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from minivit.data.decode import image_format, read_picture
from minivit.inference import logits
from minivit.runs import Run
from minivit.runs.pictures import saved_pictures
from tests.browser.browsing import drawn, settle
from tests.browser.server import Server

# A drop or a paste of one file, as a browser reports it
TRANSFER = """([kind, name, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    document.body.dispatchEvent(
        kind === "drop"
            ? new DragEvent("drop", { ...options, dataTransfer: transfer })
            : new ClipboardEvent("paste", { ...options, clipboardData: transfer }),
    );
}"""


@pytest.fixture
def picture(pictures: Path) -> Path:
    """A picture of a cross."""
    return sorted((pictures / "cross").iterdir())[7]


def verdict(run: Run, path: Path) -> str:
    """What the page says of the picture, computed by the library from the file."""
    model = run.load_model()
    probs = logits(model, read_picture(path, image_format(run.config))).softmax(1)[0]
    return f"Predicted: {run.config.classes[int(probs.argmax())]} ({probs.max():.1%})."


def name(page: Page) -> Locator:
    """The name above the original image."""
    return page.locator(".picture-name").first


def test_a_dropped_or_pasted_picture_shows_its_prediction_and_its_map_and_what_is_none_is_refused_by_name(
    page: Page, server: Server, trained_run: Run, picture: Path
) -> None:
    address = f"{server.address}/attention?run={trained_run.id}&head=2&layer=1&image=3"
    page.goto(address, wait_until="domcontentloaded")
    transfer(page, "drop", "text.png", b"no picture")  # before there is an uploader
    drawn(page)
    page.get_by_text("Try your own image").click()
    expect(page.get_by_text("text.png cannot be read")).to_be_visible()
    expect(name(page)).to_have_text("Image 3")
    other = picture.with_name("0008.png")
    for number, kind, path in ((4, "drop", picture), (5, "paste", other)):
        settle(page)
        transfer(page, kind, f"my {kind}.png", path.read_bytes())
        expect(name(page)).to_have_text(f"my {kind}.png")
        expect(page.get_by_text(verdict(trained_run, path)).first).to_be_visible()
        settle(page)
        expect(page.get_by_text("images of other classes")).to_be_visible()
        assert "head=2" in page.url and "layer=1" in page.url
        page.get_by_role("button", name="chevron_right").click()
        expect(name(page)).to_have_text(f"Image {number}")
    settle(page)  # Streamlit loses a step back into a page that is still being drawn
    page.go_back()
    expect(page.get_by_text(verdict(trained_run, other)).first).to_be_visible()
    page.get_by_role("button", name="Back to the test images").click()
    expect(name(page)).to_have_text("Image 4")
    settle(page)
    transfer(page, "drop", "again.png", other.read_bytes())
    expect(name(page)).to_have_text("again.png")
    transfer(page, "drop", "text.docx", b"no picture")
    expect(page.get_by_text("files are not allowed")).to_be_visible()


def transfer(page: Page, kind: str, file_name: str, content: bytes) -> None:
    """Drops or pastes a file."""
    page.evaluate(TRANSFER, [kind, file_name, base64.b64encode(content).decode()])


def test_a_picture_is_chosen_with_the_keyboard_at_phone_width_and_a_kept_one_opens_by_its_link(
    page: Page, server: Server, trained_run: Run, picture: Path
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    server.open(page, "attention", run=trained_run.id)
    drawn(page)
    page.locator("summary", has_text="Try your own image").press("Enter")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload", exact=True).press("Enter")
    chooser.value.set_files(picture)
    expect(page.get_by_text(verdict(trained_run, picture)).first).to_be_visible()
    page.get_by_role("button", name="Save in the run's folder").press("Enter")
    expect(page.get_by_role("button", name="Save in the run's folder")).to_have_count(0)
    (kept,) = saved_pictures(trained_run).values()
    page.reload()  # the link in a session of its own
    expect(name(page)).to_have_text(kept.name)
    expect(page.get_by_text(verdict(trained_run, picture))).to_be_visible()
    page.get_by_role("button", name="Remove this picture").click()
    expect(name(page)).to_have_text("Image 0")
    assert not saved_pictures(trained_run)
