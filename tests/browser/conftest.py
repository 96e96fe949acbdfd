"""A real server with folders of its own, a real browser that is watched, real images, and one run trained by command.

Tests that only read share one server; who starts trainings, kills or deletes takes a `new_server`.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from minivit.config import SHAPES_CLASSES, preset
from minivit.data import shapes_drawing
from minivit.engine import SILENT, train
from minivit.runs import Run, list_runs
from pages.parts.components.component import joined

ROOT = Path(__file__).parents[2]
CLASSES = ("star", "circle", "cross")  # as the trained run has them: not in the order of the folder's names
HOSTILE = ("<img src=x onerror=alert(1)>", "**bold** :red[x] $x$ [l](http:x) `c` :smile:")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
STREAMLIT = (sys.executable, "-m", "streamlit", "run", "--server.headless=true")
PROBES = r"/\w+/_stcore/(health|host-config)"  # Streamlit looks for its own address below a page's first
SECONDS = 60  # for anything that a browser waits for; the machine may be busy with other tests

SHOWN = """() => {
    const all = (root) => [...root.querySelectorAll("*")].map((node) => node.shadowRoot).filter(Boolean);
    const inside = (root) => root.innerHTML + all(root).map(inside).join();
    return inside(document.documentElement);
}"""  # the page's markup, that of components included

expect.set_options(timeout=1000 * SECONDS)


class Server:
    """`streamlit run dashboard.py` with data, runs and locks of its own."""

    def __init__(self, folder: Path, data: Path, runs: Path | None = None) -> None:
        self.runs, self.log = runs or folder / "runs", folder / "server.log"
        self.env = {**os.environ, "MINIVIT_DATA": str(data), "MINIVIT_RUNS": str(self.runs)}
        self.env["MINIVIT_LOCKS"] = str(folder)
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        """Starts on a free port and waits until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts on a free port."""
        port = free_port()
        command = [*STREAMLIT, "dashboard.py", f"--server.port={port}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.address = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Waits until it answers."""
        until(lambda: answers(f"{self.address}/_stcore/health"), "the server answers")

    def kill(self) -> None:
        """Ends the server and all of its process group at once, as the system does when memory runs out."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def close(self) -> None:
        """Ends the server and whatever it started; what it printed must hold no traceback."""
        self.kill()
        for run in self.all_runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker_of(run), signal.SIGKILL)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def all_runs(self) -> list[Run]:
        """The runs of this server, newest first."""
        return list_runs(self.runs)

    def command(self, *arguments: str) -> str:
        """What `python -m minivit …` prints, with this server's folders."""
        done = subprocess.run(
            [sys.executable, "-m", "minivit", *arguments], cwd=ROOT, env=self.env, check=True, capture_output=True
        )
        return done.stdout.decode()

    def open(self, page: Page, name: str = "", /, **params: Any) -> None:
        """Opens a page of the dashboard and waits until it is drawn."""
        page.goto(f"{self.address}/{name}" + (f"?{urlencode(params)}" if params else ""))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        settle(page)


@contextlib.contextmanager
def serving(script: str, folder: Path, *options: str) -> Iterator[str]:
    """The address of a Streamlit server of one script, written into `folder`; it finds `pages.parts`."""
    (folder / "app.py").write_text(script)
    port = free_port()
    command = [*STREAMLIT, "app.py", f"--server.port={port}", "--server.address=127.0.0.1", *options]
    command += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    with (folder / "server.log").open("wb") as log:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        base = next((option.split("=")[1] for option in options if "baseUrlPath" in option), "")
        address = f"http://127.0.0.1:{port}/{base}".rstrip("/")
        until(lambda: answers(f"{address}/_stcore/health"), "the server answers")
        yield address
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(come: Callable[[], object], what: str, seconds: float = 2 * SECONDS) -> None:
    """Waits for something outside the browser; fails when it has not come in time."""
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def answers(address: str) -> bool:
    try:
        return urlopen(address).status == 200
    except OSError:
        return False


def settle(page: Page) -> None:
    """Waits until the page's script has run to its end."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


# Transitions are ended, not waited for: on a busy machine one may take long, or start again with each rerun.
NO_TRANSITION = """() => {
    const transitions = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
    for (const transition of transitions) transition.finish();
    return transitions.length === 0;
}"""


def drawn(page: Page) -> None:
    """Waits until the page stands still: nothing is drawn anew or fades, and no part is still to be loaded."""
    settle(page)
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # parts that load late, the style sheet among them
    page.wait_for_function(NO_TRANSITION)


def broken_rules(page: Page, context: str | None = None) -> list[tuple[str, list[str]]]:
    """Rules of accessibility that the page as it stands breaks, inside `context` where given, and the places."""
    drawn(page)
    response = Axe().run(page, context=context).response
    assert response["passes"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in response["violations"]]


def choose(page: Page, label: str, option: str | re.Pattern[str]) -> None:
    """Chooses one option of a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def worker_of(run: Run) -> int:
    """The process id of the worker busy with `run`, found by its command line; one that nobody has if there is none."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if b"minivit.worker" in words and str(run.path).encode() in words:
                return int(command.parent.name)
    return 2**22 + 1


def draw_folder(root: Path, names: Sequence[str], num_per_class: int) -> Path:
    """A folder tree <class>/*.png of drawn shapes under names of any kind."""
    drawn = SHAPES_CLASSES[: len(names)]
    images, labels, _ = shapes_drawing.draw(num_per_class, classes=drawn)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:04}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files: 3 classes of 200 images of 32×32 px."""
    return draw_folder(tmp_path_factory.mktemp("pictures"), sorted(CLASSES), 200)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = os.environ.get("MINIVIT_BROWSER", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One context for all tests, so that Streamlit's scripts are loaded once."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme="light")
    context.set_default_timeout(1000 * SECONDS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails its test on an error in the console, a failed request, a dialog, or a look at the net."""
    page = context.new_page()
    with watched(page):
        yield page
    page.close()


@contextlib.contextmanager
def watched(page: Page, *also: str) -> Iterator[None]:
    """Fails on an error in the console, a failed request, a dialog, or a look at the net, while inside.

    `also` are beginnings of addresses that may be looked at besides the server's.
    """
    wrong: list[str] = []
    overtaken: list[str] = []  # a picture of a run of the script that a newer one overtook is gone; nobody sees it
    ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:", "about:", *also)

    def is_probe(url: str) -> bool:
        return bool(re.fullmatch(rf"http://127\.0\.0\.1:\d+{PROBES}", url))

    def is_media(url: str) -> bool:
        return bool(re.fullmatch(r"http://127\.0\.0\.1:\d+/media/\w+\.png(\?\d)?", url))

    def on_console(message: Any) -> None:
        if message.type == "error" and not is_probe(message.location["url"]) and not is_media(message.location["url"]):
            wrong.append(f"console: {message.text} ({message.location['url']})")

    def on_response(response: Any) -> None:
        if is_media(response.url):  # which may come at a second attempt
            name = Path(response.url.split("?")[0]).name
            overtaken[:] = [other for other in overtaken if other != name] + [name] * (response.status == 404)
        elif response.status >= 400 and not is_probe(response.url):
            wrong.append(f"status {response.status}: {response.url}")

    def on_failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # a person left before it came
            wrong.append(f"failed: {request.url} {request.failure}")

    page.on("console", on_console)
    page.on("response", on_response)
    page.on("requestfailed", on_failed)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith(ours) or wrong.append(f"away: {request.url}"))
    page.on("websocket", lambda socket: socket.url.startswith(ours) or wrong.append(f"away: {socket.url}"))
    yield
    shown = "" if page.is_closed() else page.evaluate(SHOWN)
    assert not wrong + [name for name in overtaken if name in shown], wrong


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
    """A running server with one run, trained by the command line, and an older one; for tests that change nothing."""
    server = new_server()
    hostile = preset("article").changed(
        dataset="folder", data_dir=str(hostile_pictures), classes=HOSTILE, epochs=1, device="cpu", threads=1
    )
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MINIVIT_DATA", "MINIVIT_LOCKS"):
            patched.setenv(name, server.env[name])
        train(hostile, Run.create(hostile, server.runs), SILENT)
    options = ["--dataset", "folder", "--data-dir", str(pictures), "--classes", *CLASSES]
    model = ["--depth", "2", "--num-heads", "4", "--embed-dim", "32", "--norm", "pre", "--normalize", "--lr", "0.005"]
    server.command("train", *options, *model, "--epochs", "4", "--device", "cpu", "--threads", "1")
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


Mount = Callable[..., contextlib.AbstractContextManager[None]]


@pytest.fixture
def mount(page: Page, monkeypatch: pytest.MonkeyPatch) -> Mount:
    """Draws a component alone, without a server: inside, Python gives it its data as on a page, then it is drawn.

    What it sends back lies in the page's `sent`.
    """

    @contextlib.contextmanager
    def mount(name: str, *also: str) -> Iterator[None]:
        given: dict[str, Any] = {}

        def mounted(**arguments: Any) -> Nothing:
            given.update(arguments["data"])
            return Nothing()

        monkeypatch.setattr(f"pages.parts.components.{name}.component", lambda *names: mounted)
        yield
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
