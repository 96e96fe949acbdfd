"""The sweep command."""

from pathlib import Path

import pytest

from minivit.cli import main
from minivit.runs import Run, default_runs_dir
from minivit.sweep import list_sweeps


def test_the_command_prints_a_line_per_trial_and_the_best_settings_last(capsys):
    arguments = ["sweep", "--dataset", "shapes", "--images-per-class", "20", "--patch-size", "8", "--embed-dim", "16"]
    arguments += ["--classes", "circle", "star", "--device", "cpu", "--epochs", "1", "--vary", "num_heads=1,3"]
    arguments += ["--sampler", "grid", "--workers", "1", "--name", "mine"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines[:2]} == {"trial 0 done", "trial 1 pruned"}
    assert lines[2].startswith("best: trial 0, test accuracy 0.") and lines[2].endswith("num_heads=1")
    assert Run.open(lines[3]).config.model.num_heads == 1
    assert Path(lines[3]).parent == default_runs_dir()
    assert main(["sweep", "--name", "mine"]) == 0  # nothing is left to do
    assert capsys.readouterr().out.splitlines() == lines[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Pass a setting to vary, as in --vary lr=1e-4..1e-2:log, or the name of a sweep to continue."),
        (["--vary", "lr=0.1..1", "--sampler", "grid"], "A grid needs values, and lr has a range, 0.1..1."),
        (["--name", "gone"], "The sweep 'gone' is not in"),
        (["--name", "gone", "--epochs", "3"], "A sweep keeps its settings. Leave out epochs,"),
    ],
)
def test_a_user_error_is_one_line_with_advice(capsys, arguments, message):
    dataset = [] if "--name" in arguments else ["--dataset", "shapes"]
    assert main(["sweep", *dataset, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minivit: ") and message in line
    assert not list_sweeps()
