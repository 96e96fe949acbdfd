"""Processes end quickly; the worker that waits for a run takes the next one, ends with its server, and is replaced."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivit import processes, worker
from minivit.config import TrainConfig
from minivit.processes import PROJECT, Standby
from minivit.runs import Run
from minivit.worker import start_worker

pytestmark = pytest.mark.timeout(400)

DEADLINE = 150  # seconds; importing torch alone takes a minute where the machine is busy


@pytest.fixture
def standby(monkeypatch) -> Iterator[Standby]:
    standby = Standby()
    monkeypatch.setattr(worker, "standby", standby)
    with standby.enabled():
        yield standby


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes that are started from here on."""
    started, start = [], processes.start

    def recorded(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(processes, "start", recorded)
    return started


@pytest.fixture
def idle(monkeypatch) -> list[subprocess.Popen]:
    """The processes that are started from here on, which only read their input."""
    started = []

    def start(*_, **__):
        started.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(processes, "start", start)
    return started


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)


def test_the_worker_that_waits_trains_the_next_run_and_writes_its_log(tiny: TrainConfig, standby, started):
    run = Run.create(tiny)
    standby.prepare()
    standby.prepare()
    start_worker(run)
    (process,) = started
    assert process.wait(DEADLINE) == 0
    assert (run.state.phase, run.state.epoch) == ("done", 3)
    assert run.log().splitlines()[-1].startswith("epoch 3:")
    assert run.environment["command"][-1] == str(run.path.resolve())


def test_a_run_trains_although_the_worker_that_waited_has_been_killed(tiny: TrainConfig, standby, started):
    run = Run.create(tiny)
    standby.prepare()
    started[0].kill()
    started[0].wait()
    start_worker(run)
    wait_for(lambda: not run.state.active)
    assert run.state.phase == "done"
    assert len(started) == 2


def test_the_worker_that_waits_ends_when_its_server_is_killed():
    server = (
        "from minivit.processes import standby\nimport sys\n"
        "with standby.enabled():\n"
        "    standby.prepare()\n"
        "    print(standby._process.pid, flush=True)\n"
        "    sys.stdin.read()"
    )
    command = [sys.executable, "-c", server]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        waiting = int(process.stdout.readline())
        command_of_waiting = Path("/proc") / str(waiting) / "cmdline"  # empty in exec, and as soon as it has ended
        wait_for(lambda: b"minivit.worker" in command_of_waiting.read_bytes())
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not command_of_waiting.exists() or not command_of_waiting.read_bytes())


def test_a_run_goes_to_the_worker_that_waits_once_and_as_one_line(idle, standby):
    standby.prepare()
    process = standby.take("a\nfolder")
    assert process is idle[0]
    assert json.loads(process.stdout.read()) == "a\nfolder"
    assert standby.take("another") is None
    assert process.wait() == 0
    process.stdout.close()


def test_a_worker_that_was_started_in_another_environment_is_ended_and_not_used(idle, standby, monkeypatch):
    standby.prepare()
    monkeypatch.setenv("MINIVIT_LOCKS", "elsewhere")
    assert standby.take("a folder") is None
    assert idle[0].returncode == -signal.SIGKILL


def test_only_a_server_keeps_a_worker_ready_and_ends_it_when_it_ends(idle):
    standby = Standby()
    standby.prepare()
    assert idle == []
    with standby.enabled():
        standby.prepare()
        assert idle[0].poll() is None
    assert idle[0].returncode == -signal.SIGKILL


def test_a_process_has_the_file_names_of_its_parent_and_prints_utf8(tmp_path, monkeypatch):
    (tmp_path / "encodings_here.py").write_text(
        "import sys\nprint(sys.getfilesystemencoding(), 'ж'.encode(sys.stdout.encoding).hex())", encoding="utf-8"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name, value in {**locale, "PYTHONPATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    process = processes.start("encodings_here", stdin=subprocess.DEVNULL, output=subprocess.PIPE)
    assert process.communicate(timeout=DEADLINE)[0].split() == [b"ascii", "ж".encode().hex().encode()]


@pytest.mark.parametrize("module", ["minivit", "minivit.worker"])
def test_threads_of_a_training_sleep_soon_when_they_wait_for_each_other(module, monkeypatch):
    monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")  # OpenMP's settings when torch loads it
    arguments = [sys.executable, "-m", module, *["--help"][: module == "minivit"]]
    done = subprocess.run(arguments, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "GOMP_SPINCOUNT = '10000'" in done.stderr, done.stderr


def test_a_process_that_exits_quickly_still_prints_everything_waits_for_threads_and_calls_exit_handlers():
    code = (
        "import atexit, threading, time; from minivit.processes import exit_quickly\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), print('thread', end=' ... '))).start()\n"
        "atexit.register(print, 'handler'); print('last line', end=' ... '); exit_quickly(3)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (process.returncode, process.stdout, process.stderr) == (3, "last line ... thread ... handler\n", "")
