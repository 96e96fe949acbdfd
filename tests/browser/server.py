"""Servers of the real dashboard, or of one script, in folders of their own, and the workers they start."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Page, expect

from minivit.runs import Run, list_runs
from tests.browser.browsing import settle
from tests.forks import free_port

ROOT = Path(__file__).parents[2]
STREAMLIT = (sys.executable, "-m", "streamlit", "run", "--server.headless=true")
SECONDS = float(os.environ.get("MINIVIT_SECONDS", 120))  # for all that a browser waits for; the machine may be busy


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


def worker_of(run: Run) -> int:
    """The process id of the worker busy with `run`, found by its output; one that nobody has if there is none."""
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if output.readlink() == run.path.resolve() / "log.txt":
                return int(output.parents[1].name)
    return 2**22 + 1
