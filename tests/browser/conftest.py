"""A real server with folders of its own, a real browser that is watched, real images, and two runs.

Tests that only read share one server; who starts trainings, kills or deletes takes a `new_server`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from minivit.config import SHAPES_CLASSES, preset
from minivit.data import shapes_drawing
from minivit.engine import SILENT, train
from minivit.runs import Run
from pages.parts.components.component import joined
from pages.parts.components.live_curves.__init__ import plotly_script
from tests.browser.browsing import OBSERVE, launched, watched
from tests.browser.server import SECONDS, Server, serving

CLASSES = ("star", "circle", "cross")  # as the trained run has them: not in the order of the folder's names
HOSTILE = ("<img src=x onerror=alert(1)>", "**bold** :red[x] $x$ [l](http:x) `c` :smile:")

expect.set_options(timeout=1000 * SECONDS)


def draw_folder(root: Path, names: Sequence[str], num_per_class: int) -> Path:
    """A folder tree <class>/*.png of drawn shapes under names of any kind."""
    for name, shape in zip(names, SHAPES_CLASSES, strict=False):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(shapes_drawing.draw(shape, num_per_class)[0]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / name / f"{number:04}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files: 3 classes of 200 images of 32×32 px."""
    return draw_folder(tmp_path_factory.mktemp("pictures"), sorted(CLASSES), 200)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Iterator[Page]:
    """One tab for all tests: in a new one, Chromium would parse and compile Streamlit's scripts again, for 2 s."""
    with browser.new_context() as context:
        context.set_default_timeout(1000 * SECONDS)
        yield context.new_page()


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """An empty page that fails its test on an error in the console, a failed request, a dialog, or a look at the net.

    What a test changes outside its documents, such as an init script or the clock, would stay for the tests after it.
    """
    tab.goto("about:blank")
    tab.set_viewport_size({"width": 1280, "height": 1000})
    tab.emulate_media(color_scheme="light", reduced_motion="no-preference")
    tab.mouse.move(0, 0)
    with watched(tab):
        yield tab
    tab.unroute_all()


@pytest.fixture(scope="module", params=[("light", 1280), ("dark", 390)], ids=["light", "dark on a phone"])
def visitor(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """The watched tab of a new visitor, whose browser has no script in its cache; it adds up its layout shifts."""
    scheme, width = request.param
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844}) as context:
        context.set_default_timeout(1000 * SECONDS)
        context.add_init_script(OBSERVE)
        page = context.new_page()
        with watched(page):
            yield page


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that tests share; shapes are drawn into it once."""
    data = tmp_path_factory.getbasetemp() / "data"
    data.mkdir(exist_ok=True)
    return data


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory, drawn_data: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers without runs, not yet started; all are ended in the end."""
    made: list[Server] = []

    def make(data: Path = drawn_data, runs: Path | None = None) -> Server:
        made.append(Server(tmp_path_factory.mktemp("server"), data, runs))
        return made[-1]

    yield make
    with contextlib.ExitStack() as stack:
        for server in made:
            stack.callback(server.close)


@pytest.fixture(scope="session")
def hostile_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files in 2 class folders whose names are markup, 40 images each."""
    return draw_folder(tmp_path_factory.mktemp("hostile"), HOSTILE, 40)


@pytest.fixture(scope="session")
def server(new_server: Callable[..., Server], pictures: Path, hostile_pictures: Path) -> Server:
    """A running server with two runs; for tests that change nothing."""
    server = new_server()
    base = preset("article").changed(dataset="folder", device="cpu", threads=1)
    hostile = base.changed(data_dir=str(hostile_pictures), classes=HOSTILE, epochs=1)
    model = {"depth": 2, "num_heads": 4, "embed_dim": 32, "norm": "pre", "normalize": True, "lr": 0.005}
    shapes = base.changed(data_dir=str(pictures), classes=CLASSES, epochs=4, **model)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MINIVIT_DATA", "MINIVIT_LOCKS"):
            patched.setenv(name, server.env[name])
        for config in (hostile, shapes):
            train(config, Run.create(config, server.runs), SILENT)
    server.start()
    return server


@pytest.fixture(scope="session")
def trained_run(server: Server) -> Run:
    """The newer run of `server`: 2 layers of 4 heads on 3 classes, epochs 0 to 4."""
    return server.all_runs()[0]


@pytest.fixture(scope="session")
def hostile_run(server: Server) -> Run:
    """The older run of `server`, on classes whose names are markup."""
    return server.all_runs()[1]


@pytest.fixture(scope="session")
def component_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of component_app.py, below a base path as behind a proxy."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "static").mkdir()
    plotly_script(folder / "static")
    script = Path(__file__).with_name("component_app.py").read_text(encoding="utf-8")
    with serving(script, folder, "--server.enableStaticServing=true", "--server.baseUrlPath=lab/vit") as address:
        yield address


Mount = Callable[..., contextlib.AbstractContextManager[None]]


@pytest.fixture
def mount(page: Page, monkeypatch: pytest.MonkeyPatch) -> Mount:
    """Draws a component alone, without a server: inside, Python gives it its data as on a page, then it is drawn.

    `again` gives new data to the one that is there. What it sends back lies in the page's `sent`.
    """

    @contextlib.contextmanager
    def mount(name: str, *also: str, again: bool = False) -> Iterator[None]:
        given: dict[str, Any] = {}

        def mounted(**arguments: Any) -> Nothing:
            given.update(arguments["data"])
            return Nothing()

        monkeypatch.setattr(f"pages.parts.components.{name}.component", lambda *names: mounted)
        yield
        if not again:
            code = joined(name, also, "js").replace("export default function", "window.component = function")
            style = f"<style>{joined(name, also, 'css')}</style>"
            body = f"<!doctype html>{style}<div class='minivit'><div class='{name}'></div></div><script>{code}</script>"
            page.route("**/alone", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
            page.goto("http://127.0.0.1:9/alone")
        answers = "parentElement: document.body, setTriggerValue: (...trigger) => (window.sent ??= []).push(trigger)"
        page.evaluate(f"data => component({{ data, {answers} }})", given)

    return mount


class Nothing:
    """What a component answers that nobody touched."""

    def __getattr__(self, name: str) -> None:
        return None
