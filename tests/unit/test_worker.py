"""Real worker processes: what they finish, what they survive, and what is left when they do not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from minivit import cli, worker
from minivit.config import TrainConfig
from minivit.errors import RunError
from minivit.machine import acquire_device
from minivit.runs import Run
from minivit.worker import main, start_worker
from tests.forks import finish, fork

pytestmark = pytest.mark.timeout(400)  # a loop that never ends fails

DEADLINE = 150  # seconds; importing torch alone takes a minute where the machine is busy


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)


def ended(run: Run) -> bool:
    return not run.state.active


def processes_of(run: Run) -> list[int]:
    """Processes whose command names the run folder, whatever the folder says."""
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(run.path) in command:
                processes.append(int(entry.name))
    return processes


def is_leader(process: int) -> bool:
    """Whether it leads a session, so that a closed terminal does not reach it."""
    try:
        return os.getsid(process) == process
    except ProcessLookupError:
        return False


@pytest.fixture
def run(tiny: TrainConfig) -> Iterator[Run]:
    """A run of which no process is left afterwards."""
    run = Run.create(tiny)
    yield run
    for process in processes_of(run):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def test_a_worker_outlives_its_starter_waits_its_turn_and_trains_to_the_end(run, tmp_path, monkeypatch):
    """Started by a short-lived process from another folder, as by a page of a server that is then killed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "random.py").write_text("raise SystemExit('a file of the starter was imported')")
    monkeypatch.setenv("MINIVIT_DATA", "my data")  # relative to the starter
    starter = (
        f"import os; os.chdir({str(tmp_path / 'elsewhere')!r})\n"
        "from minivit.runs import Run; from minivit.worker import start_worker\n"
        f"start_worker(Run.open({str(run.path)!r}))"
    )
    with acquire_device(torch.device("cpu"), lambda: None):
        assert finish([fork(exec, starter, {})]) == [0]
        wait_for(lambda: "Waiting for another run to release the cpu" in run.state.message)
        assert run.state.phase == "queued" and run.is_worker_alive()
        worker, *its_own = sorted(processes_of(run), key=is_leader, reverse=True)
        assert is_leader(worker)
        assert not any(map(is_leader, its_own))  # a process that it has forked shows its command until it calls exec
        assert run.epochs() == [] and run.metrics() == []
    wait_for(lambda: ended(run))
    assert (run.state.phase, run.state.epoch) == ("done", 3)
    assert [row["epoch"] for row in run.metrics()] == run.epochs() == [0, 1, 2, 3]
    lines = run.log().splitlines()
    epochs = [line for line in lines if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 0 (untrained)", "epoch 1", "epoch 2", "epoch 3"]
    assert "96 training and 24 test images" in lines[0]
    assert (tmp_path / "elsewhere" / "my data" / "cache").is_dir()
    wait_for(lambda: not processes_of(run))


def test_a_closed_terminal_stops_a_run_of_the_command_line_in_order(tiny):
    run = Run.create(tiny.changed(epochs=10_000, compile="off"))
    process = fork(cli.main, ["resume", str(run.path)])
    wait_for(lambda: len(run.metrics()) > 1 or not process.is_alive())
    os.kill(process.pid, signal.SIGHUP)
    assert finish([process]) == [0]
    assert run.state.phase == "stopped" and "Resume continues" in run.state.message


def test_a_worker_that_cannot_start_is_reported_immediately_with_the_reason(run, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    start_worker(run)
    wait_for(lambda: run.state.phase == "failed")
    assert run.state.message.startswith("The worker could not start: ")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_log_that_is_no_file_is_reported_before_the_run_is_queued(run, make):
    make(run.path / "log.txt")
    run.set_state("stopped", 1)
    with pytest.raises(RunError, match=r"log\.txt cannot be written: not a regular file"):
        start_worker(run)
    assert run.state.phase == "stopped" and run.requested_command() is None


def test_a_worker_is_stopped_while_it_is_starting(run, monkeypatch):
    started = []

    class Starting(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(600)"], **options)
            started.append(self)

    monkeypatch.setattr(worker.subprocess, "Popen", Starting)
    start_worker(run)
    run.request("pause")
    wait_for(lambda: run.state.phase == "paused")
    assert started[0].wait() == -signal.SIGTERM


def test_a_second_worker_on_the_same_run_refuses_and_leaves_it_alone(run, monkeypatch, capsys):
    monkeypatch.setattr("minivit.runs.files.LOCK_SECONDS", 0.1)
    with run.hold():
        run.set_state("training", 1)
        assert main(str(run.path)) == 2
        assert run.state.phase == "training" and run.metrics() == []
    output = capsys.readouterr().out
    assert run.id in output and "Another worker" in output and output.count("\n") == 1


def test_a_worker_of_a_deleted_run_reports_it(tmp_path, capsys):
    assert main(str(tmp_path / "gone")) == 2
    assert str(tmp_path / "gone") in capsys.readouterr().out
    assert not (tmp_path / "gone").exists()


def test_a_user_error_is_a_sentence_in_the_log_without_a_traceback(tiny, tmp_path, capsys):
    run = Run.create(tiny.changed(dataset="folder", data_dir=str(tmp_path / "nowhere")))
    assert main(str(run.path)) == 2
    output = capsys.readouterr()
    assert output.out.strip() == run.state.message and str(tmp_path / "nowhere") in output.out
    assert "Traceback" not in output.out + output.err and run.state.phase == "failed"


def test_our_own_mistake_leaves_a_traceback_in_the_log_and_a_failed_run(run, monkeypatch, capfd):
    def broken(*_):
        raise ZeroDivisionError("our mistake")

    monkeypatch.setattr("minivit.engine.loop.load_split", broken)
    assert main(str(run.path)) == 1
    output = capfd.readouterr()  # start_worker sends both to log.txt
    assert "Traceback" in output.err and "our mistake" in output.err
    assert (run.state.phase, run.state.message) == (
        "failed",
        "ZeroDivisionError: our mistake. The log has the details.",
    )
    assert not run.is_worker_alive()


def test_starting_settles_an_older_command_and_appends_to_the_log(run, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, command, **options):
            started.append((self, command))
            says = "import sys, time; print('hello'); print('oh', file=sys.stderr, flush=True); time.sleep(600)"
            super().__init__([sys.executable, "-u", "-c", says], **options)

    monkeypatch.setattr(worker.subprocess, "Popen", Recorded)
    (run.path / "log.txt").write_text("earlier\n")
    run.set_state("paused", 2)
    run.request("pause")
    start_worker(run)
    assert run.requested_command() == "resume"
    assert (run.state.phase, run.state.epoch) == ("queued", 2)
    wait_for(lambda: run.log().count("\n") == 2)
    assert sorted(run.log().splitlines()) == ["earlier", "hello", "oh"]
    (process, command), *_ = started
    process.kill()
    assert command[-2:] == ["minivit.worker", str(run.path)]
