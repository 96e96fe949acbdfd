"""Workers that are killed, stopped or started twice, and what remains of their trials."""

import pytest
import torch
from filelock import FileLock
from sweeps import start, sweep_of, wait_for

from minivit.machine import acquire_device
from minivit.runs import Run, list_runs
from minivit.sweep import Sweep, as_completed, start_workers
from minivit.sweep.workers import claim, main

pytestmark = pytest.mark.timeout(400)  # a loop that never ends fails


def test_the_trial_of_a_killed_worker_fails_and_is_retried_from_its_last_epoch(tiny, processes):
    base = tiny.changed(epochs=10_000, compile="off")  # too long to end
    sweep = Sweep.create(sweep_of(base, "seed=3,4", sampler="grid", pruning=False))
    worker = start(processes, sweep, 0)
    wait_for(lambda: len(sweep.trials()[0].curve) > 2)
    assert sweep.trials()[0].phase == "training" and sweep.active
    worker.kill()
    worker.join()
    failed, waiting = sweep.trials()
    assert (failed.phase, waiting.phase) == ("failed", "queued")
    assert failed.message == "Its worker stopped unexpectedly. Retry continues from its last epoch."
    assert not sweep.active
    run = sweep.run_of(failed)
    rows = run.metrics()
    assert sweep.retry() == 1 and sweep.retry() == 0
    failed, _, again = sweep.trials()
    assert failed.retried and (again.phase, again.params, again.run_id) == ("queued", {"seed": 3}, failed.run_id)
    assert sweep.study().trials[0].state.name == "FAIL"
    worker = start(processes, sweep, 0)
    wait_for(lambda: sweep.trials()[1].phase == "training")
    assert claim(sweep, 1).number == 2  # only the retried one is waiting
    worker.kill()
    worker.join()
    assert run.metrics()[: len(rows)] == rows


def test_a_stopped_sweep_continues_in_the_same_trial_and_run(tiny, every_step, monkeypatch):
    sweep = Sweep.create(sweep_of(tiny, "seed=3", sampler="grid", pruning=False))
    append = Run.append_metrics

    def stop_after_epoch_1(run, row):
        append(run, row)
        if row["epoch"] == 1:
            sweep.request("stop")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "append_metrics", stop_after_epoch_1)
        assert main(str(sweep.path), 0) == 0
    (stopped,) = sweep.trials()
    run = sweep.run_of(stopped)
    assert stopped.phase == "queued" and (run.state.phase, run.state.epoch) == ("stopped", 1)
    assert not sweep.active
    assert main(str(sweep.path), 0) == 0
    assert [trial.phase for trial in sweep.trials()] == ["queued"]  # the command is still to stop
    sweep.request("start")
    assert main(str(sweep.path), 0) == 0
    (done,) = sweep.trials()
    assert (done.phase, done.run_id) == ("done", stopped.run_id)
    assert list(done.curve) == [0, 1, 2, 3] == [row["epoch"] for row in run.metrics()]
    assert len(list_runs()) == 1


def test_trials_of_detached_workers_are_reported_as_they_end(small):
    sweep = Sweep.create(sweep_of(small, "seed=0,1,2", sampler="grid", pruning=False, workers=2))
    with acquire_device(torch.device("cpu"), lambda: None):  # so that they wait
        start_workers(sweep)
        assert sweep.active
    assert sorted(trial.number for trial in as_completed(sweep, 0.05)) == [0, 1, 2]
    assert not sweep.active
    assert "trial 2: seed=2 in " in sweep.log()


def test_a_trial_whose_run_is_stopped_is_pruned_and_not_started_again(small, monkeypatch):
    sweep = Sweep.create(sweep_of(small, "seed=0", sampler="grid"))
    create = Run.create

    def create_stopped(*args):
        run = create(*args)
        run.request("stop")
        return run

    monkeypatch.setattr("minivit.sweep.workers.Run.create", create_stopped)
    monkeypatch.setattr("minivit.engine.control.POLL_SECONDS", -1.0)
    assert main(str(sweep.path), 0) == 0
    (trial,) = sweep.trials()
    assert (trial.phase, trial.message) == ("pruned", "Its run was stopped.")


def test_a_second_worker_of_the_same_number_exits(small, monkeypatch, capsys):
    monkeypatch.setattr("minivit.runs.files.LOCK_SECONDS", 0.1)
    sweep = Sweep.create(sweep_of(small, "seed=0", sampler="grid"))
    with FileLock(sweep.worker_lock(0)):
        assert main(str(sweep.path), 0) == 2
    assert f"Worker 0 of the sweep {sweep.id} is already running." in capsys.readouterr().out
    assert sweep.trials()[0].phase == "queued"


def test_missing_images_end_the_worker_with_an_error_and_no_trial(small, image_folder, tmp_path):
    folder = tmp_path / "images"
    folder.symlink_to(image_folder)
    base = small.changed(dataset="folder", data_dir=str(folder), classes=("star", "cross"))
    sweep = Sweep.create(sweep_of(base, "seed=0,1", sampler="grid"))
    folder.unlink()
    assert main(str(sweep.path), 0) == 2
    assert str(folder) in sweep.problem
    assert {trial.phase for trial in sweep.trials()} == {"queued"}
