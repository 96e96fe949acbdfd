"""Folders that cannot be written, or are not there, give a message or a fallback, never a traceback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivit.config import TrainConfig
from minivit.runs import Run
from tests.faults.killing import PROJECT, call_in_fork

PACKAGES = ("minivit", "pages", ".streamlit")


@pytest.fixture
def lock() -> Iterator[Callable[[Path], Path]]:
    """Makes folders read-only until the test ends."""
    locked: list[Path] = []

    def make_read_only(folder: Path) -> Path:
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            path.chmod(0o555)
            locked.append(path)
        return folder

    yield make_read_only
    for path in locked:
        path.chmod(0o755)


@pytest.fixture
def trained(tiny: TrainConfig, tmp_path: Path) -> Run:
    run = Run.create(tiny.changed(epochs=1), tmp_path / "trained")
    assert call_in_fork(["resume", str(run.path)])[0] == 0
    return run


def options(config: TrainConfig) -> list[str]:
    return [
        *("--dataset", "shapes", "--classes", "circle", "star", "--images-per-class", "60", "--epochs", "1"),
        *("--patch-size", "8", "--embed-dim", "16", "--device", "cpu", "--threads", "1"),
    ]


def test_a_read_only_run_is_read_and_what_would_change_it_is_refused(
    trained: Run, lock: Callable[[Path], Path]
) -> None:
    lock(trained.path)
    path = str(trained.path)
    assert call_in_fork(["predict", path])[0] == 0
    assert call_in_fork(["runs", "--runs-dir", str(trained.path.parent)])[0] == 0
    for command in (["resume", path], ["resume", path, "--epochs", "3"]):
        code, output = call_in_fork(command)
        assert code == 2 and "cannot be written" in output, (command, output)
    assert call_in_fork([], python=f"from minivit.runs import Run; Run.open({path!r}).rename('x')")[0] == 2
    assert call_in_fork([], python=f"from minivit.runs import Run; Run.open({path!r}).delete()")[0] == 2
    code, output = call_in_fork([], python=f"from minivit import worker; import sys; sys.exit(worker.main({path!r}))")
    assert code == 2, output
    assert Run.open(path).epochs() == [0, 1]


@pytest.mark.parametrize(
    ("lacking", "runs"),
    [
        *((lacking, "writable") for lacking in ("data folder", "temporary folder", "no temporary folder", "locks")),
        *((lacking, "writable") for lacking in ("cwd", "no cwd", "home", "no HOME")),
        *((lacking, "read-only") for lacking in ("no temporary folder", "no cwd")),
    ],
)
def test_a_training_where_folders_are_missing_or_read_only(
    lacking: str, runs: str, tiny: TrainConfig, tmp_path: Path, lock: Callable[[Path], Path]
) -> None:
    for name in ("data", "tmp", "cwd", "home", "locks", "my runs"):
        (tmp_path / name).mkdir(exist_ok=True)
    folders = {"MINIVIT_DATA": "data", "TMPDIR": "tmp", "HOME": "home", "MINIVIT_LOCKS": "locks"}
    environment = {name: str(tmp_path / folder) for name, folder in folders.items()}
    cwd = tmp_path / "cwd"
    match lacking:
        case "data folder":
            lock(tmp_path / "data")
        case "temporary folder":
            lock(tmp_path / "tmp")
            environment["MINIVIT_LOCKS"] = ""
        case "no temporary folder":
            environment |= {"TMPDIR": str(tmp_path / "none"), "MINIVIT_LOCKS": ""}
        case "cwd":
            lock(cwd)
        case "home":
            lock(tmp_path / "home")
        case "no HOME":
            environment["HOME"] = ""
        case "locks":
            lock(tmp_path / "locks")
    if runs == "read-only":
        lock(tmp_path / "my runs")
    command = ["train", *options(tiny), "--runs-dir", str(tmp_path / "my runs")]
    code, output = call_in_fork(command, environment, cwd, gone=lacking == "no cwd")
    assert "Traceback" not in output, output
    assert code == (2 if "read-only" in runs or lacking == "locks" else 0), output


PROGRAM = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("minivit", "pages", "tests")]:
    del sys.modules[name]
sys.path.insert(0, "")
from streamlit.testing.v1 import AppTest
from minivit.cli import main
assert main(["train", *{options!r}]) == 2
for page in ("", "train", "data", "runs", "predictions", "attention", "compare", "sweeps", "anatomy"):
    app = AppTest.from_file("dashboard.py", default_timeout=60)
    app = app.switch_page(f"pages/{{page}}.py") if page else app
    app.run()
    assert not app.exception, (page, app.exception)
print("in", sys.modules["minivit"].__file__)
"""


def test_a_read_only_project_gives_a_message(tiny: TrainConfig, tmp_path: Path, lock: Callable[[Path], Path]) -> None:
    project = tmp_path / "project"
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "dashboard.py", project)
    lock(project)
    own = {"MINIVIT_DATA": "", "MINIVIT_RUNS": ""}
    code, output = call_in_fork([], own, project, python=PROGRAM.format(options=options(tiny)))
    assert code == 0 and "Choose another folder" in output and f"in {project}" in output, output
    assert "Traceback" not in output, output
