"""The command line called here and once as a process of its own, and the run that the process trained."""

import shutil
import subprocess
import sys

import pytest

from minivit.cli import main
from minivit.processes import PROJECT
from minivit.runs import Run

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


@pytest.fixture(scope="module")
def process(image_folder, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """`python -m minivit train` as a process of its own."""
    runs, command = tmp_path_factory.mktemp("runs"), [sys.executable, "-m", "minivit", "train", *SMALL]
    command += ["--preset", "article", "--dataset", "folder", "--data-dir", str(image_folder), "--classes", *CLASSES]
    command += ["--split", "official", "--epochs", "3", "--runs-dir", str(runs)]
    data, locks = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("locks")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(data), "MINIVIT_DATA": str(data), "MINIVIT_LOCKS": str(locks)}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(process) -> Run:
    """The run of that process. Tests leave it as it is."""
    return Run.open(process.stdout.splitlines()[-1])


@pytest.fixture
def copy(trained, tmp_path) -> Run:
    """A copy of the trained run, to be spoilt."""
    return Run.open(shutil.copytree(trained.path, tmp_path / "copy"))
