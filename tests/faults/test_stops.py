"""Pause, Stop and SIGTERM end a worker soon, whatever it is doing, and Resume continues where it was.

python -m pytest tests/faults/test_stops.py                        each phase once
python -m pytest tests/faults/test_stops.py --stop-seconds 2       every way to stop in every phase, within 2 s
"""

import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from PIL import Image

from minivit.config import TrainConfig
from minivit.machine import acquire_device
from minivit.runs import Run
from tests.faults.killing import start
from tests.forks import finish

COMMANDS = ("stop", "pause", "SIGTERM")
HELD = {  # by phase: a function, at which call it is held, and the step that is saved; None: no position yet
    "listing files": ("minivit.data.folder.image_files 1", None),
    "evaluating before training": ("minivit.engine.training.logits 1", "0"),
    "evaluating": ("minivit.engine.training.logits 2", "3"),
    "in a long step": ("minivit.engine.step.TrainStep.__call__ 3", "2"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One command for each phase, or all."""
    if "command" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("--stop-seconds") <= 2
        phases = list(HELD) if "phase" in metafunc.fixturenames else [""]
        pairs = [(phase, command) for phase in phases for command in COMMANDS]
        if not is_long:
            pairs = [(phase, COMMANDS[index % len(COMMANDS)]) for index, phase in enumerate(phases)]
        names = ("phase", "command") if phases[0] else "command"
        metafunc.parametrize(names, pairs if phases[0] else [command for _, command in pairs])


@pytest.fixture(scope="module")
def config(tiny: TrainConfig, image_folder: Path) -> TrainConfig:
    folder = {"dataset": "folder", "data_dir": str(image_folder), "images_per_class": 0}
    return tiny.changed(**folder, epochs=2, batch_size=16, compile="off")


@pytest.fixture(scope="module")
def uninterrupted(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same training without a stop."""
    run = Run.create(config, tmp_path_factory.mktemp("uninterrupted"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MINIVIT_DATA", str(tmp_path_factory.mktemp("data")))
        patched.setenv("MINIVIT_LOCKS", str(tmp_path_factory.mktemp("locks")))
        assert finish(start(run)) == [0]
    return run


@pytest.fixture
def stops_in_time(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """Gives a command to a process, and requires that it ends in time with the phase that fits."""

    def stop(run: Run, process: BaseProcess, command: str) -> None:
        start_time = time.monotonic()
        if command == "SIGTERM":
            process.terminate()
        else:
            run.request(command)  # type: ignore[arg-type]
        assert finish([process]) == [0]
        seconds = time.monotonic() - start_time
        print(f"{command}: {seconds:.2f} s")
        assert run.state.phase == ("paused" if command == "pause" else "stopped")
        assert seconds < request.config.getoption("--stop-seconds")

    return stop


def wait_for(condition: Callable[[], object], process: BaseProcess) -> None:
    while not condition():
        assert process.is_alive()
        time.sleep(0.01)


def test_a_command_takes_effect_where_python_does_not_run(
    config: TrainConfig, uninterrupted: Run, stops_in_time: Callable[..., None], phase: str, command: str
) -> None:
    run = Run.create(config)
    hold, step = HELD[phase]
    (process,) = start(run, hold=hold)
    wait_for(Path(f"{run.path}.held").exists, process)
    stops_in_time(run, process, command)
    saved = run.load_resume()
    assert (saved[1]["step"] if saved else None) == step  # nothing is lost but the step that was held
    assert finish(start(run)) == [0]
    files = [sorted((each.path / "checkpoints").iterdir()) for each in (run, uninterrupted)]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert [row["epoch"] for row in run.metrics()] == [0, 1, 2]


def test_a_command_takes_effect_while_large_images_are_decoded(
    config: TrainConfig, tmp_path: Path, stops_in_time: Callable[..., None], command: str
) -> None:
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        Image.effect_noise((4000, 3000), 50).save(folder / "0.png", compress_level=1)
        for number in range(1, 200):
            (folder / f"{number}.png").hardlink_to(folder / "0.png")
    run = Run.create(config.changed(data_dir=str(tmp_path / "photos"), classes=("cat", "dog")))
    (process,) = start(run)
    wait_for(lambda: run.state.phase == "loading", process)
    stops_in_time(run, process, command)


def test_a_command_takes_effect_in_the_queue(
    config: TrainConfig, stops_in_time: Callable[..., None], command: str
) -> None:
    run = Run.create(config)
    with acquire_device(torch.device("cpu"), lambda: None):
        (process,) = start(run)
        wait_for(lambda: "Waiting for another run" in run.state.message, process)
        stops_in_time(run, process, command)
