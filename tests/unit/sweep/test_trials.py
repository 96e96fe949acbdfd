"""Small studies: what is trained, by which worker, and what is pruned."""

import itertools

import pytest
from sweeps import start, sweep_of

from minivit.runs import list_runs
from minivit.sweep import Sweep, best_trial, find_sweep
from minivit.sweep.workers import main
from tests.forks import finish

pytestmark = pytest.mark.timeout(400)  # a loop that never ends fails


def test_two_workers_train_each_combination_of_a_grid_once_as_ordinary_runs(small, processes):
    config = sweep_of(small, "depth=1,2", "seed=0,1", sampler="grid", pruning=False, workers=2)
    sweep = Sweep.create(config)
    workers = [start(processes, sweep, worker) for worker in (0, 1)]
    assert finish(workers) == [0, 0]
    trials = sweep.trials()
    expected = list(itertools.product((1, 2), (0, 1)))
    assert [tuple(trial.params[name] for name in ("depth", "seed")) for trial in trials] == expected
    assert {trial.phase for trial in trials} == {"done"}
    assert len(list_runs()) == 4 == len({trial.run_id for trial in trials})
    for trial in trials:
        run = sweep.run_of(trial)
        assert run.state.phase == "done" and run.sweep == sweep.id
        assert run.config == small.changed(**trial.params)
        assert trial.curve == {row["epoch"]: row["test_acc"] for row in run.metrics()}
        assert trial.accuracy == run.metrics()[-1]["test_acc"]
    assert best_trial(sweep.trials()).accuracy == max(trial.accuracy for trial in trials)
    assert not sweep.active and not sweep.problem


def test_a_search_with_the_same_seed_samples_the_same_values_within_the_range(small):
    for name, seed in (("one", 1), ("other", 1), ("third", 2)):
        config = sweep_of(
            small.changed(seed=seed, epochs=1),
            "lr=1e-3..1e-2:log",
            "depth=1..2",
            trials=2,
            sampler="random",
            pruning=False,
        )
        assert main(str(Sweep.create(config, name=name).path), 0) == 0
    first, other, third = (
        [dict(trial.params) for trial in find_sweep(name).trials()] for name in ("one", "other", "third")
    )
    assert first == other != third
    assert len({params["lr"] for params in first}) == 2
    assert all(1e-3 <= params["lr"] <= 1e-2 and params["depth"] in (1, 2) for params in first)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_over_values_trains_each_combination_at_most_once(small, sampler):
    config = sweep_of(small.changed(epochs=1), "depth=1,2", "seed=0..2", sampler=sampler, pruning=False)
    sweep = Sweep.create(config)
    assert main(str(sweep.path), 0) == 0
    params = [tuple(trial.params.values()) for trial in sweep.trials()]
    assert sorted(params) == list(itertools.product((1, 2), (0, 1, 2))) and params != sorted(params)


def test_invalid_combinations_are_pruned_with_the_reason_and_the_others_trained(small):
    sweep = Sweep.create(sweep_of(small, "num_heads=3,2", "embed_dim=16,12", sampler="grid"))
    assert main(str(sweep.path), 0) == 0
    phases = {(trial.params["num_heads"], trial.params["embed_dim"]): trial for trial in sweep.trials()}
    impossible = phases.pop((3, 16))
    assert impossible.phase == "pruned" and not impossible.run_id
    assert impossible.message.startswith(
        "3 heads do not divide an embedding dimension of 16. Choose one of 1, 2, 4, 8, 16"
    )
    assert {trial.phase for trial in phases.values()} == {"done"}
    assert len(list_runs()) == 3


def test_a_trial_below_the_median_is_pruned_and_its_run_can_be_resumed(tiny, monkeypatch):
    monkeypatch.setattr("minivit.sweep.study.STARTUP_TRIALS", 1)
    quickly_learned = {"classes": ("ring", "hourglass"), "images_per_class": 400, "norm": "pre", "normalize": True}
    base = tiny.changed(**quickly_learned, epochs=6)
    sweep = Sweep.create(sweep_of(base, "lr=0.005,0.000000001", sampler="grid"))
    assert main(str(sweep.path), 0) == 0
    good, bad = sweep.trials()
    assert (good.phase, bad.phase) == ("done", "pruned")
    assert 2 <= max(bad.curve) < 6  # not before a third of the epochs
    assert bad.message == f"Below the median of earlier trials at epoch {max(bad.curve)}."
    run = sweep.run_of(bad)
    assert (run.state.phase, run.state.epoch) == ("stopped", max(bad.curve))
    assert run.state.message == f"Pruned by the sweep {sweep.id}. Resume continues from here."
    assert best_trial(sweep.trials()).number == good.number


def test_a_trial_whose_loss_diverges_is_pruned_and_the_sweep_continues(small):
    base = small.changed(optimizer="sgd", norm="pre", depth=6, epochs=6)
    sweep = Sweep.create(sweep_of(base, "lr=10,0.001", sampler="grid", pruning=False))
    assert main(str(sweep.path), 0) == 0
    diverged, fine = sweep.trials()
    assert (diverged.phase, fine.phase) == ("pruned", "done")
    assert diverged.message.startswith("The loss became NaN or infinite in epoch ")
