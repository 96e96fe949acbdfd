"""Folders for images, and a training loop that looks up at every step."""

from pathlib import Path

import pytest

from minivit.config import TrainConfig
from minivit.engine import TrainStep, control
from minivit.engine.compiler import Compiler
from minivit.runs import Run


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop looks up at every step."""
    monkeypatch.setattr(control, "POLL_SECONDS", -1.0)


@pytest.fixture
def wait_for_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training waits for the compiled step before the second epoch."""
    advance = Compiler.advance

    def wait(compiler: Compiler, step: TrainStep, seconds_left: float | None) -> None:
        if compiler.process and seconds_left is not None:
            compiler.process.wait()
        advance(compiler, step, seconds_left)

    monkeypatch.setattr(Compiler, "advance", wait)


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, not made yet."""
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """An empty folder for a tree of images."""
    (tmp_path / "pets").mkdir()
    return tmp_path / "pets"


@pytest.fixture
def run(tiny: TrainConfig) -> Run:
    """A run that nobody trained yet."""
    return Run.create(tiny)
