"""The command line called here, and a run that it trained."""

import shutil
from pathlib import Path

import pytest

from minivit.cli import main
from minivit.runs import Run, list_runs

CLASSES = ("star", "circle", "cross")
SMALL = [
    "--patch-size",
    "8",
    "--embed-dim",
    "16",
    "--depth",
    "2",
    "--num-heads",
    "2",
    "--batch-size",
    "32",
    "--device",
    "cpu",
    "--threads",
    "1",
]


@pytest.fixture
def call(capsys):
    """Runs the command line here; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = end.code
        return code, *capsys.readouterr()

    return call


def train_command(image_folder: Path, runs: Path) -> list[str]:
    """Trains on three classes for three epochs."""
    options = ["--preset", "article", "--dataset", "folder", "--data-dir", str(image_folder), "--classes", *CLASSES]
    return ["train", *SMALL, *options, "--split", "official", "--epochs", "3", "--runs-dir", str(runs)]


@pytest.fixture(scope="module")
def trained(image_folder, tmp_path_factory) -> Run:
    """The run of that command. Tests leave it as it is."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MINIVIT_DATA", "MINIVIT_LOCKS"):
            patched.setenv(name, str(tmp_path_factory.mktemp(name)))
        assert main(train_command(image_folder, runs)) == 0
    (run,) = list_runs(runs)
    return run


@pytest.fixture
def copy(trained, tmp_path) -> Run:
    """A copy of the trained run, to be spoilt."""
    return Run.open(shutil.copytree(trained.path, tmp_path / "copy"))
