"""Two real processes under torchrun against one: the same curve, and how they leave and go on together."""

import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

import pytest
import torch
from safetensors.torch import load_file
from trainings import stop_after

from minivit.config import TrainConfig
from minivit.engine import SILENT, Events, train
from minivit.engine.distributed import SINGLE_PROCESS, Group
from minivit.errors import ConfigError, DataError
from minivit.machine import choose_threads, num_slots_needed, pick_device
from minivit.runs import Run
from minivit.worker import start_worker
from tests.faults.killing import log_of, start
from tests.forks import finish, fork, free_port

pytestmark = pytest.mark.timeout(400)

DEADLINE = 150  # seconds; importing torch alone takes a minute where the machine is busy


@pytest.fixture
def processes() -> Iterator[list[BaseProcess]]:
    """A list for processes, none of which is left afterwards."""
    processes: list[BaseProcess] = []
    yield processes
    for process in processes:
        process.terminate()
        process.join()


def assert_same_within_rounding(run: Run, other: Run) -> None:
    """Rows and weights, but for the clock's figures."""
    rows, others = run.metrics(), other.metrics()
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in others]
    for mine, theirs in zip(rows, others, strict=True):
        for name in ("train_loss", "train_acc", "test_loss", "test_acc", "lr"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6), (mine["epoch"], name)
    assert run.checkpoints() == other.checkpoints()
    for path in sorted((run.path / "checkpoints").iterdir()):
        kept, theirs = load_file(path), load_file(other.path / "checkpoints" / path.name)
        for name, value in kept.items():
            torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-4, msg=f"{path.name} {name}")


# 122 images in batches of 11: uneven shares, and a last batch of one image, of which the second process has none.
UNEVEN = {
    "images_per_class": 61,
    "split": "official",
    "batch_size": 11,
    "augment": "flip-crop",
    "schedule": "cosine",
    "grad_clip": 1.0,
    "label_smoothing": 0.1,
}


def through(config: TrainConfig, last: int = 0) -> Run:
    """What one process makes of `config`, up to epoch `last` where that is given."""
    run = Run.create(config)
    train(config, run, stop_after(last) if last else SILENT)
    return run


def test_two_processes_started_apart_as_on_two_machines_give_the_curve_and_the_weights_of_one(tiny, processes):
    from torch.distributed.run import main as torchrun  # slow to import

    config = tiny.changed(optimizer="sgd", normalize=True, **UNEVEN)
    run = Run.create(config)
    options = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d")
    options += ("--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    command = [*options, "-m", "minivit.worker", str(run.path)]
    processes += [fork(torchrun, command, output=run.path / "log.txt") for _ in range(2)]
    assert finish(processes) == [0, 0], run.log()
    assert run.state.phase == "done"
    assert_same_within_rounding(through(config), run)
    environment = run.environment
    assert environment["world_size"] == 2
    assert [device["device"] for device in environment["devices"]] == ["cpu", "cpu"]
    assert run.log().count("epoch 1:") == 1  # the main process alone speaks


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)


def test_a_run_of_two_processes_resumes_after_a_stop_and_after_a_crash_also_in_one_process(tiny, processes):
    settings = {"optimizer": "sgd", "lr": 1e-4, **UNEVEN}  # small steps, so that rounding stays small
    config = tiny.changed(epochs=10_000, compile="off", devices=2, **settings)
    run = Run.create(config)
    start_worker(run)  # as a page does; the settings say how many
    wait_for(lambda: len(run.metrics()) > 1 or not run.state.active)
    run.request("stop")
    wait_for(lambda: not run.state.active)
    assert run.state.phase == "stopped" and "Resume" in run.state.message, run.log()
    wait_for(lambda: not run.is_worker_alive())
    stopped = run.state.epoch
    assert "Traceback" not in run.log()

    processes += start(run)
    wait_for(lambda: len(run.metrics()) > stopped + 2 or not processes[0].is_alive())
    processes[1].kill()
    processes[0].join(DEADLINE)
    assert processes[0].exitcode == 2
    assert run.state.phase == "failed"
    assert run.state.message.startswith("Another of the 2 processes of this run ended without an error message. Resume")
    assert run.state.epoch > stopped + 1

    last = run.state.epoch + 3
    train(config, run, stop_after(last))
    assert run.state.epoch == last and run.environment["world_size"] == 1
    assert_same_within_rounding(through(config, last), run)


def test_a_process_that_fails_is_named_with_its_reason_and_a_folder_that_is_missing_too(tiny, tmp_path):
    run = Run.create(tiny.changed(dataset="folder", data_dir=str(tmp_path / "nowhere"), devices=2))
    assert finish(start(run))[0] == 2
    assert run.state.phase == "failed" and str(tmp_path / "nowhere") in run.state.message
    assert "Another of the 2 processes" not in log_of(run)  # the main process alone speaks
    assert log_of(run).count(run.state.message) == 1 and run.metrics() == []


def test_a_single_process_exchanges_nothing():
    batch = torch.arange(5)
    assert SINGLE_PROCESS.shard(batch) is batch and SINGLE_PROCESS.broadcast(2, 3) == [2, 3]
    assert SINGLE_PROCESS.main_process_first(lambda: 7) == 7 and SINGLE_PROCESS.all_gather("name", "text") == ["text"]
    SINGLE_PROCESS.all_reduce(batch)
    assert batch.tolist() == [0, 1, 2, 3, 4]


def test_only_the_main_process_writes_the_run_folder_and_reads_commands(tiny):
    class SecondProcess(Group):
        rank = 1

    run = through(tiny)
    run.request("stop")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    lines = []
    train(tiny.changed(epochs=5), run, Events(log=lines.append), SecondProcess())
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert lines == [] and run.requested_command() == "stop"


def test_processes_of_one_machine_share_its_cores_and_take_a_gpu_each(tiny, monkeypatch):
    monkeypatch.setattr("minivit.machine.num_cores", lambda: 8)
    large = tiny.changed(threads=0, embed_dim=256, depth=6, batch_size=512)
    assert [choose_threads(large, num) for num in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert [num_slots_needed(large, torch.device("cpu"), num) for num in (1, 2, 3)] == [8, 8, 6]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", 1, 2) == torch.device("cuda", 1)
    assert num_slots_needed(large, torch.device("cuda"), 2) == 2
    with pytest.raises(ConfigError, match="3 processes on this machine need a GPU each, and it has 2"):
        pick_device("cuda", 0, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto", 0, 2) == torch.device("cpu")


def test_images_that_changed_since_the_run_was_begun_are_refused_with_what_changed(tiny):
    run = Run.create(tiny)

    def stop(line: str) -> None:
        if line.startswith("epoch 1"):
            run.request("stop")

    train(tiny, run, Events(log=stop))
    before = (run.path / "metrics.jsonl").read_bytes()
    for changes, message in (
        ({"images_per_class": 59}, "it had 96 training and 24 test"),
        ({"seed": 1}, "there are still 96 training and 24 test"),
    ):
        other = Run(run.path, tiny.changed(**changes))
        if "seed" in changes:
            run.set_environment(run.environment | {"data_fingerprint": "of images as many, but others"})
        with pytest.raises(DataError, match=message):
            train(other.config, other, SILENT)
        assert run.state.phase == "failed" and "environment.json" in run.state.message
        assert (run.path / "metrics.jsonl").read_bytes() == before
    (run.path / "environment.json").unlink()  # as the message says
    train(tiny, run, SILENT)
    assert run.state.phase == "done"
