"""The first start on a desktop, where Streamlit has never run: it serves pages without asking anything."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.browser.server import ROOT, answers, until
from tests.forks import free_port


def test_the_first_start_in_a_terminal_of_a_desktop_asks_for_no_email_address(tmp_path: Path) -> None:
    port = free_port()
    desktop = {"HOME": str(tmp_path), "DISPLAY": ":0", "PATH": "", "BROWSER": "/bin/true"}  # no real browser opens
    terminal, stdio = pty.openpty()
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "dashboard.py", f"--server.port={port}"],
        cwd=ROOT,
        env=os.environ | desktop,
        stdin=stdio,
        stdout=stdio,
        stderr=stdio,
    )
    os.close(stdio)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"), "the server answers")
        assert b"Email" not in os.read(terminal, 10_000)
    finally:
        server.kill()
        server.wait()
        os.close(terminal)
