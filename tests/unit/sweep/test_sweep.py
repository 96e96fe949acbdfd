"""Real small studies: what is tried, by whom, what is pruned, and what is left of the killed and the stopped."""

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivit.cli.commands import main as command
from minivit.config import TrainConfig
from minivit.errors import ConfigError, SweepError
from minivit.runs import Run, default_runs_dir, list_runs
from minivit.sweep import Sweep, SweepConfig, Vary, as_completed, find_sweep, list_sweeps, start_workers
from minivit.sweep.workers import claim, main
from minivit.worker import PROJECT

pytestmark = pytest.mark.timeout(400)  # a loop that never ends fails

DEADLINE = 150  # seconds; importing torch alone takes a minute where the machine is busy


@pytest.fixture
def small(tiny: TrainConfig) -> TrainConfig:
    """Settings that train in a tenth of a second."""
    return tiny.changed(images_per_class=20, epochs=2)


def sweep_of(base: TrainConfig, *vary: str, **settings: object) -> SweepConfig:
    return SweepConfig(base=base, vary=tuple(Vary.parse(text) for text in vary), **settings)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen]]:
    """Worker processes of a test, of which none is left afterwards."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def start(processes: list[subprocess.Popen], sweep: Sweep, worker: int) -> subprocess.Popen:
    """A worker as a child of the test, which can wait for it and kill it."""
    code = [sys.executable, "-m", "minivit.sweep", str(sweep.path), str(worker)]
    processes.append(subprocess.Popen(code, cwd=PROJECT, stdout=subprocess.DEVNULL))
    return processes[-1]


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.03)


# What is varied


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("depth=1,2,4", {"name": "depth", "values": (1, 2, 4)}),
        ("num-heads=1,2", {"name": "num_heads", "values": (1, 2)}),
        ("norm=pre,post", {"name": "norm", "values": ("pre", "post")}),
        ("normalize=true,false", {"name": "normalize", "values": (True, False)}),
        ("lr=1e-4..1e-2:log", {"name": "lr", "low": 1e-4, "high": 1e-2, "log": True}),
        ("embed_dim=16..64", {"name": "embed_dim", "low": 16, "high": 64}),
    ],
)
def test_what_varies_is_read_as_a_person_writes_it(text: str, expected: dict[str, object]) -> None:
    vary = Vary.parse(text)
    assert vary == Vary(**expected)
    assert Vary.parse(f"{vary.name}={vary.text}") == vary
    assert Vary.model_validate(vary.model_dump(mode="json")) == vary


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depth", "'depth' is not valid."),
        ("=1,2", "'=1,2' is not valid."),
        ("lr=1,2:log", "'lr=1,2:log' is not valid."),
        ("lr=1e-4..1e-2:lin", "is not valid."),
        ("colour=1,2", "'colour' is not a setting, so it cannot be varied. Choose among"),
        ("classes=cat,dog", "'classes' is the same in all trials, so it cannot be varied."),
        ("depth=1,99", "Depth (depth) is '99' blocks; it should be less than or equal to 24."),
        ("depth=1.5..3", "Depth (depth) is 1.5 blocks; it should be a valid integer"),
        ("depth=one,two", "Depth (depth) is 'one' blocks; it should be a valid integer"),
        ("depth=1,2,1", "A value of depth is listed twice in 1, 2, 1."),
        ("norm=pre..post", "low is 'pre'; it should be a valid number"),
        ("norm=0..1", "norm cannot have a range. List its values, as in norm=post,pre."),
        ("lr=1e-2..1e-4", "The range of lr, 0.01..0.0001, needs a low end below its high end."),
        ("lr=1..20", "Learning rate (lr) is 20.0; it should be less than or equal to 10."),
        ("weight_decay=0..1:log", "The logarithmic range of weight_decay starts at 0."),
    ],
)
def test_what_cannot_be_varied_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Vary.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("vary", "settings", "said"),
    [
        ([], {}, "A sweep varies at least one setting."),
        (["lr=0.1,0.2", "lr=0.3,0.4"], {}, "lr is given twice. List all its values at once."),
        (["lr=0.1..0.2"], {"sampler": "grid"}, "A grid needs values, and lr has a range, 0.1..0.2."),
        (["lr=0.1,0.2"], {"trials": 0}, "Trials (trials) is 0; it should be greater than or equal to 1."),
        (
            [f"seed={','.join(map(str, range(40)))}", f"epochs={','.join(map(str, range(1, 40)))}"],
            {"sampler": "grid"},
            "The grid has 1,560 combinations; at most 1,000 are allowed.",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_told(
    small: TrainConfig, vary: list[str], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_of(small, *vary, **settings)
    assert said in str(error.value)
    assert not list_sweeps()


# What is tried


def test_two_workers_train_each_combination_of_a_grid_once_as_ordinary_runs(small, processes):
    config = sweep_of(small, "depth=1,2", "lr=0.001,0.01", "seed=0,1", sampler="grid", pruning=False, workers=2)
    sweep = Sweep.create(config)
    both = [start(processes, sweep, worker) for worker in (0, 1)]
    assert [process.wait(DEADLINE) for process in both] == [0, 0]
    trials = sweep.trials()
    wanted = list(itertools.product((1, 2), (0.001, 0.01), (0, 1)))
    assert [tuple(tried.params[name] for name in ("depth", "lr", "seed")) for tried in trials] == wanted
    assert {tried.phase for tried in trials} == {"done"}
    assert len(list_runs()) == 8 == len({tried.run_id for tried in trials})
    for tried in trials:
        run = sweep.run_of(tried)
        assert run.state.phase == "done" and run.sweep == sweep.id
        assert run.config == small.changed(**tried.params)
        assert tried.curve == {row["epoch"]: row["test_acc"] for row in run.metrics()}
        assert tried.accuracy == run.metrics()[-1]["test_acc"]
    assert sweep.best().accuracy == max(tried.accuracy for tried in trials)
    assert not sweep.active and not sweep.problem


def test_a_search_draws_within_its_range_the_same_again_for_the_same_seed(small):
    for name, seed in (("one", 1), ("other", 1), ("third", 2)):
        config = sweep_of(
            small.changed(seed=seed, epochs=1), "lr=1e-3..1e-2:log", "depth=1..2", trials=4, sampler="random",
            pruning=False,
        )  # fmt: skip
        assert main(str(Sweep.create(config, name=name).path), 0) == 0
    one, other, third = (
        [dict(tried.params) for tried in find_sweep(name).trials()] for name in ("one", "other", "third")
    )
    assert one == other != third
    assert len({params["lr"] for params in one}) == 4
    assert all(1e-3 <= params["lr"] <= 1e-2 and params["depth"] in (1, 2) for params in one)


def test_pairs_that_cannot_be_are_pruned_by_name_and_the_others_trained(small):
    sweep = Sweep.create(sweep_of(small, "num_heads=3,2", "embed_dim=16,12", sampler="grid"))
    assert main(str(sweep.path), 0) == 0
    phases = {(tried.params["num_heads"], tried.params["embed_dim"]): tried for tried in sweep.trials()}
    impossible = phases.pop((3, 16))
    assert impossible.phase == "pruned" and not impossible.run_id
    assert impossible.message.startswith("3 heads do not divide an embed dim of 16. Choose one of 1, 2, 4, 8, 16")
    assert {tried.phase for tried in phases.values()} == {"done"}
    assert len(list_runs()) == 3


def test_a_trial_below_the_median_is_pruned_and_its_run_can_go_on(tiny, monkeypatch):
    monkeypatch.setattr("minivit.sweep.study.STARTUP_TRIALS", 1)
    base = tiny.changed(images_per_class=100, lr=3e-3, epochs=6, normalize=True)
    sweep = Sweep.create(sweep_of(base, "lr=0.003,0.000000001", sampler="grid"))
    assert main(str(sweep.path), 0) == 0
    good, bad = sweep.trials()
    assert (good.phase, bad.phase) == ("done", "pruned")
    assert 1 <= max(bad.curve) < 6
    assert bad.message == f"Below the median of earlier trials at epoch {max(bad.curve)}."
    run = sweep.run_of(bad)
    assert (run.state.phase, run.state.epoch) == ("stopped", max(bad.curve))
    assert run.state.message == f"Pruned by the sweep {sweep.id}. Resume continues from here."
    assert sweep.best().number == good.number


def test_a_loss_that_is_no_number_is_pruned_by_name_and_the_sweep_goes_on(small):
    base = small.changed(optimizer="sgd", norm="pre", depth=6, epochs=6)
    sweep = Sweep.create(sweep_of(base, "lr=10,0.001", sampler="grid", pruning=False))
    assert main(str(sweep.path), 0) == 0
    diverged, fine = sweep.trials()
    assert (diverged.phase, fine.phase) == ("pruned", "done")
    assert diverged.message.startswith("The loss is no longer a number in epoch ")


# Killed, stopped, gone on with


def test_a_killed_workers_trial_is_failed_and_tried_again_from_where_it_was(tiny, processes):
    sweep = Sweep.create(sweep_of(tiny.changed(epochs=400, batch_size=4), "seed=3,4", sampler="grid", pruning=False))
    worker = start(processes, sweep, 0)
    wait_for(lambda: len(sweep.trials()[0].curve) > 2)
    assert sweep.trials()[0].phase == "running" and sweep.active
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    failed, waiting = sweep.trials()
    assert (failed.phase, waiting.phase) == ("failed", "waiting")
    assert failed.message == "Its worker stopped unexpectedly. Retry continues from its last epoch."
    assert not sweep.active
    run = sweep.run_of(failed)
    kept = run.epochs()
    assert sweep.retry() == 1 and sweep.retry() == 0
    failed, _, again = sweep.trials()
    assert failed.retried and (again.phase, again.params, again.run_id) == ("waiting", {"seed": 3}, failed.run_id)
    assert sweep.study().trials[0].state.name == "FAIL"
    worker = start(processes, sweep, 0)
    wait_for(lambda: sweep.trials()[1].phase == "running")
    assert claim(sweep, 1).number == 2  # what is left to take is the one put back
    worker.kill()
    worker.wait()
    assert run.epochs()[: len(kept)] == kept


def test_a_stopped_sweep_goes_on_in_the_same_trial_and_run(tiny, processes):
    config = sweep_of(tiny.changed(epochs=12, batch_size=4), "seed=3", sampler="grid", pruning=False)
    sweep = Sweep.create(config)
    worker = start(processes, sweep, 0)
    wait_for(lambda: len(sweep.trials()[0].curve) > 2)
    sweep.request("stop")
    assert worker.wait(DEADLINE) == 0
    (stopped,) = sweep.trials()
    run = sweep.run_of(stopped)
    assert stopped.phase == "waiting" and run.state.phase == "stopped"
    assert 1 < run.state.epoch < 12, "it was stopped too late"
    assert not sweep.active
    assert main(str(sweep.path), 0) == 0
    assert [tried.phase for tried in sweep.trials()] == ["waiting"]  # it is still asked to stop
    sweep.request("start")
    assert main(str(sweep.path), 0) == 0
    (done,) = sweep.trials()
    assert (done.phase, done.run_id) == ("done", stopped.run_id)
    assert list(done.curve) == list(range(13)) == [row["epoch"] for row in run.metrics()]
    assert len(list_runs()) == 1


def test_workers_started_detached_are_followed_to_the_end(small):
    sweep = Sweep.create(sweep_of(small, "seed=0,1,2", sampler="grid", pruning=False, workers=2))
    start_workers(sweep)
    assert sweep.active
    assert sorted(tried.number for tried in as_completed(sweep, 0.05)) == [0, 1, 2]
    assert not sweep.active
    assert "trial 2: seed=2 in " in sweep.log()


def test_a_run_that_somebody_stops_by_itself_is_pruned_and_not_started_again(small, monkeypatch):
    sweep = Sweep.create(sweep_of(small, "seed=0", sampler="grid"))
    create = Run.create

    def stopped(*given):
        run = create(*given)
        run.request("stop")
        return run

    monkeypatch.setattr("minivit.sweep.trial_run.Run.create", stopped)
    monkeypatch.setattr("minivit.engine.control.GLANCE_SECONDS", -1.0)
    assert main(str(sweep.path), 0) == 0
    (tried,) = sweep.trials()
    assert (tried.phase, tried.message) == ("pruned", "Its run was stopped.")


def test_a_second_worker_of_the_same_number_refuses(small, monkeypatch, capsys):
    monkeypatch.setattr("minivit.sweep.folder.LOCK_SECONDS", 0.1)
    sweep = Sweep.create(sweep_of(small, "seed=0", sampler="grid"))
    with sweep.hold(0):
        assert main(str(sweep.path), 0) == 2
    assert f"Worker 0 of the sweep {sweep.id} is already running." in capsys.readouterr().out
    assert sweep.trials()[0].phase == "waiting"


def test_images_that_are_gone_end_the_worker_with_a_sentence_and_cost_no_trial(small, image_folder, tmp_path):
    folder = tmp_path / "images"
    folder.symlink_to(image_folder)
    base = small.changed(dataset="folder", data_dir=str(folder), classes=("star", "cross"))
    sweep = Sweep.create(sweep_of(base, "seed=0,1", sampler="grid"))
    folder.unlink()
    assert main(str(sweep.path), 0) == 2
    assert str(folder) in sweep.problem
    assert {tried.phase for tried in sweep.trials()} == {"waiting"}


# Shared by URL


@pytest.mark.parametrize("url", ["journal://{}/shared.journal", "sqlite:///{}/shared.db"])
def test_two_machines_share_one_study_by_its_url(small, tmp_path, processes, url):
    url = url.format(tmp_path)
    config = sweep_of(small, "seed=0,1,2,3", sampler="grid", pruning=False, workers=1)
    here = Sweep.create(config, name="both", storage=url)
    there = Sweep.join("both", url, tmp_path / "elsewhere", workers=3, threads=1)
    assert there.config.vary == here.config.vary and there.config.workers == 3
    both = [start(processes, here, 0), start(processes, there, 0)]
    assert [process.wait(DEADLINE) for process in both] == [0, 0]
    trials = here.trials()
    assert [tried.params["seed"] for tried in trials] == [0, 1, 2, 3]
    assert {tried.phase for tried in trials} == {"done"}
    assert [tried.is_local for tried in there.trials()] == [not tried.is_local for tried in trials]
    assert len(list_runs()) + len(list_runs(tmp_path / "elsewhere")) == 4
    assert here.best().number == there.best().number


def test_a_study_that_cannot_be_reached_or_is_not_there_is_told_without_its_password(small, tmp_path):
    config = sweep_of(small, "seed=0,1")
    for url, said in {
        f"journal://{tmp_path}/nowhere/file": "is not a file in an existing folder",
        f"sqlite:///{tmp_path}/nowhere/file.db": "unable to open database file",
        "postgresql+nothing://me:secret@host/db": "cannot be reached",
        "nonsense": "cannot be reached",
    }.items():
        with pytest.raises(SweepError) as error:
            Sweep.create(config, name="shared", storage=url)
        assert said in str(error.value) and "secret" not in str(error.value)
        assert not list_sweeps()
    url = f"journal://{tmp_path}/file"
    with pytest.raises(SweepError, match="There is no study 'shared' there"):
        Sweep.join("shared", url)
    Sweep.create(config, name="shared", storage=url)
    with pytest.raises(SweepError, match="There is a study 'shared' there already"):
        Sweep.create(config, tmp_path / "elsewhere", "shared", url)
    with pytest.raises(SweepError, match="There is a sweep 'shared' in"):
        Sweep.create(config, name="shared")
    for name in ("../up", "a/b", ".hidden", "x" * 100):
        with pytest.raises(SweepError, match="is not a valid name for a sweep"):
            Sweep.create(config, name=name)


def test_a_sweep_folder_that_cannot_be_read_is_told_and_not_listed(small):
    sweep = Sweep.create(sweep_of(small, "seed=0,1"))
    assert Sweep.open(sweep.path).config == sweep.config
    (sweep.path / "sweep.json").write_text("{")
    with pytest.raises(SweepError, match="There is no sweep in"):
        Sweep.open(sweep.path)
    assert list_sweeps() == [] == list_runs()
    with pytest.raises(SweepError, match="is not in"):
        find_sweep(sweep.id)


# The command line


def test_the_command_prints_a_line_a_trial_and_the_best_settings_last(capsys):
    arguments = ["sweep", "--dataset", "shapes", "--images-per-class", "20", "--patch-size", "8", "--embed-dim", "16"]
    arguments += ["--classes", "circle", "star", "--device", "cpu", "--epochs", "1", "--vary", "num_heads=1,3"]
    arguments += ["--sampler", "grid", "--workers", "2", "--name", "mine"]
    assert command(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines[:2]} == {"trial 0 done", "trial 1 pruned"}
    assert lines[2].startswith("best: trial 0, test accuracy 0.") and lines[2].endswith("num_heads=1")
    assert Run.open(lines[3]).config.model.num_heads == 1
    assert Path(lines[3]).parent == default_runs_dir()
    assert command(["sweep", "--name", "mine"]) == 0  # nothing is left to do
    assert capsys.readouterr().out.splitlines() == lines[2:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say what to vary, as in --vary lr=1e-4..1e-2:log, or name a sweep to go on with."),
        (["--vary", "lr=0.1..1", "--sampler", "grid"], "A grid needs values, and lr has a range, 0.1..1."),
        (["--name", "gone"], "The sweep 'gone' is not in"),
        (["--name", "gone", "--epochs", "3"], "A sweep keeps its settings. Leave out epochs,"),
    ],
)
def test_the_command_tells_in_a_sentence_what_to_mend(capsys, arguments, said):
    assert (
        command(["sweep", "--dataset", "shapes", *arguments] if "--name" not in arguments else ["sweep", *arguments])
        == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minivit: ") and said in line
    assert not list_sweeps()
