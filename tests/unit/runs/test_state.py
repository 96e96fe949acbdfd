"""A run's state and commands, and the lock that its worker holds."""

import os
import shutil
import threading
import time

import pytest
from filelock import FileLock
from trainings import write

from minivit.errors import RunError
from minivit.runs import Run
from minivit.runs import run as run_module
from minivit.runs.files import read_json


def test_a_training_run_without_a_living_worker_is_reported_as_failed_with_its_epoch(run):
    for phase in ("loading", "training"):
        run.set_state(phase, 5)
        assert run.state.phase == "failed" and not run.state.active
        assert "after epoch 5" in run.state.message and "Resume" in run.state.message
        assert run.state.epoch == 5


def test_a_run_that_a_living_worker_trains_is_not_reported_as_failed(run):
    run.set_state("training", 5)
    with run.hold():
        assert run.state.phase == "training"
    assert run.state.phase == "failed"


def test_a_queued_run_has_time_to_start_before_it_is_reported_as_failed(run, monkeypatch):
    assert run.state.phase == "queued"
    later = time.time() + run_module.STARTUP_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert run.state.phase == "failed"


def test_ended_phases_need_no_worker(run):
    for phase in ("paused", "stopped", "failed", "done"):
        run.set_state(phase, 2, "message")
        assert (run.state.phase, run.state.message, run.state.active) == (phase, "message", False)


INVALID = [
    "",
    "{",
    "[]",
    "7",
    "null",
    "{}",
    '{"phase": "dancing"}',
    '{"phase": ["done"]}',
    '{"phase": "queued", "updated": "x"}',
    '{"phase": "done", "epoch": null}',
    '{"phase": "done", "epoch": Infinity}',
]


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_state_is_reported_as_failed(run, text):
    write(run, "state.json", text)
    assert run.state.phase == "failed" and "state.json" in run.state.message
    assert not run.state.active


def test_a_state_that_is_not_text_is_reported_as_failed(run):
    (run.path / "state.json").write_bytes(b"\xff\xfe\x00")
    assert run.state.phase == "failed"


def test_reading_a_state_does_not_change_its_file(run):
    run.set_state("training", 1)
    before = (run.path / "state.json").read_bytes()
    assert run.state.phase == "failed"
    assert (run.path / "state.json").read_bytes() == before


def test_readers_see_complete_states_while_several_threads_write(run):
    failures: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if read_json(run.path / "state.json").get("phase") != "done":
                failures.append("incomplete state")

    def write_states(number: int) -> None:
        try:
            for epoch in range(100):
                run.set_state("done", epoch, "x" * 1000 * number)
        except RunError as error:
            failures.append(error)

    run.set_state("done")
    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write_states, args=(number,)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not failures
    assert not [path.name for path in run.path.iterdir() if path.name.startswith(".")]


def test_writing_to_a_deleted_run_raises_an_error_with_its_path(run):
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match=f"{run.path}/control.json cannot be written: .* deleted or renamed"):
        run.request("stop")
    assert not run.path.exists()


# Commands


def test_the_last_command_counts(run):
    assert run.requested_command() is None
    run.request("pause")
    run.request("stop")
    assert run.requested_command() == "stop"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"command": "dance"}', '{"command": ["stop"]}', '{"command": null}']
)
def test_an_unknown_command_is_ignored(run, text):
    write(run, "control.json", text)
    assert run.requested_command() is None


# The lock


def test_only_one_worker_holds_a_run(run, monkeypatch):
    monkeypatch.setattr("minivit.runs.files.LOCK_SECONDS", 0.1)
    assert not run.is_worker_alive()
    with run.hold():
        assert run.is_worker_alive()
        with pytest.raises(RunError, match=f"Another worker is training the run {run.id}"), Run.open(run.path).hold():
            raise AssertionError("two workers hold one run")
        assert run.is_worker_alive()
    assert not run.is_worker_alive()


def test_a_reader_that_tests_the_lock_does_not_block_a_worker(run):
    reader = FileLock(run.path / "worker.lock", thread_local=False)
    reader.acquire()
    threading.Timer(0.2, reader.release).start()
    with run.hold():
        assert run.is_worker_alive()


def test_the_lock_file_of_a_dead_worker_does_not_lock_the_run(run):
    write(run, "worker.lock", str(os.getpid()))
    assert not run.is_worker_alive()
    with run.hold():
        pass


def test_a_worker_removes_temporary_files_of_a_killed_one_and_not_those_in_use(tiny):
    run = Run.create(tiny)
    weights = [run.path / "checkpoints" / ".epoch-0001.safetensors.12-34", run.path / ".resume.safetensors.12-34"]
    old, new = run.path / ".state.json.12-34", run.path / ".control.json.12-34"
    for path in (*weights, old, new):
        path.write_bytes(b"incomplete")
    os.utime(old, (0, 0))
    with run.hold():
        assert [path for path in (*weights, old, new) if path.exists()] == [new]
        assert run.state.phase == "queued"
