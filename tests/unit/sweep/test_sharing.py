"""Studies that several machines share by URL, and folders that cannot be read."""

import json

import pytest
from sweeps import start, sweep_of

from minivit.errors import SweepError
from minivit.runs import list_runs
from minivit.runs.files import is_locked
from minivit.sweep import Sweep, best_trial, find_sweep, list_sweeps
from minivit.sweep.study import CONFIG
from tests.forks import finish

pytestmark = pytest.mark.timeout(400)  # a loop that never ends fails


@pytest.mark.parametrize("url", ["journal://{}/shared.journal", "sqlite:///{}/shared.db"])
def test_two_machines_share_one_study_by_its_url(small, tmp_path, processes, url):
    url = url.format(tmp_path)
    config = sweep_of(small, "seed=0,1,2,3", sampler="grid", pruning=False, workers=1)
    first = Sweep.create(config, name="both", storage=url)
    second = Sweep.join("both", url, tmp_path / "elsewhere", workers=3, threads=1)
    assert second.config.vary == first.config.vary and second.config.workers == 3
    workers = [start(processes, first, 0), start(processes, second, 0)]
    assert finish(workers) == [0, 0]
    trials = first.trials()
    assert [trial.params["seed"] for trial in trials] == [0, 1, 2, 3]
    assert {trial.phase for trial in trials} == {"done"}
    assert [trial.is_local for trial in second.trials()] == [not trial.is_local for trial in trials]
    assert len(list_runs()) + len(list_runs(tmp_path / "elsewhere")) == 4
    assert best_trial(first.trials()).number == best_trial(second.trials()).number


def test_machines_that_share_an_sqlite_file_claim_trials_one_after_the_other(small, tmp_path):
    sweep = Sweep.create(sweep_of(small, "seed=0,1"), name="both", storage=f"sqlite:///{tmp_path}/shared.db")
    with sweep.queue_lock():
        assert is_locked(tmp_path / "shared.db.lock")
    assert not is_locked(tmp_path / "shared.db.lock")


def test_a_missing_study_raises_an_error_without_its_password(small, tmp_path):
    config = sweep_of(small, "seed=0,1")
    for url, message in {
        f"journal://{tmp_path}/nowhere/file": "is not a file in an existing folder",
        f"sqlite:///{tmp_path}/nowhere/file.db": "unable to open database file",
        "postgresql+nothing://me:secret@host/db": "cannot be reached",
        "nonsense": "cannot be reached",
    }.items():
        with pytest.raises(SweepError) as error:
            Sweep.create(config, name="shared", storage=url)
        assert message in str(error.value) and "secret" not in str(error.value)
        assert not list_sweeps()
    url = f"journal://{tmp_path}/file"
    with pytest.raises(SweepError, match="There is no study 'shared' in this storage"):
        Sweep.join("shared", url)
    Sweep.create(config, name="shared", storage=url)
    with pytest.raises(SweepError, match="There is already a study 'shared' in this storage"):
        Sweep.create(config, tmp_path / "elsewhere", "shared", url)
    with pytest.raises(SweepError, match="There is a sweep 'shared' in"):
        Sweep.create(config, name="shared")
    for name in ("../up", "a/b", ".hidden", "x" * 100):
        with pytest.raises(SweepError, match="is not a valid name for a sweep"):
            Sweep.create(config, name=name)


def test_a_sweep_of_before_there_was_a_second_drawing_of_shapes_keeps_the_first(small, tmp_path):
    url = f"journal://{tmp_path}/file"
    sweep = Sweep.create(sweep_of(small, "seed=0,1"), name="earlier", storage=url)
    stored = json.loads((sweep.path / "sweep.json").read_text())
    assert stored["base"].pop("drawing") == 2
    (sweep.path / "sweep.json").write_text(json.dumps(stored))
    sweep.study().set_user_attr(CONFIG, {name: stored[name] for name in type(sweep.config).model_fields})
    assert Sweep.open(sweep.path).config.base == small.changed(drawing=1, stratify=True)
    assert Sweep.join("earlier", url, tmp_path / "elsewhere").config.base.drawing == 1


@pytest.mark.parametrize("damage", [b"", b"x\n" * 5, b"[" * 100_000 + b"\n", b'{"op_code": "x", "worker_id": "1"}\n'])
def test_a_study_that_is_damaged_raises_an_error(small, damage):
    sweep = Sweep.create(sweep_of(small, "seed=0,1"))
    (sweep.path / "study.journal").write_bytes(damage)
    (sweep.path / "control.json").write_text('{"command": "start", "time": "now", "stopped": []}')
    assert sweep.last_stop == 0
    with pytest.raises(SweepError, match=r"is damaged\. Restore a backup"):
        Sweep.open(sweep.path).trials()


def test_a_damaged_sweep_folder_raises_an_error_and_is_not_listed(small):
    sweep = Sweep.create(sweep_of(small, "seed=0,1"))
    assert Sweep.open(sweep.path).config == sweep.config
    (sweep.path / "sweep.json").write_text("{")
    with pytest.raises(SweepError, match="There is no sweep in"):
        Sweep.open(sweep.path)
    assert list_sweeps() == [] == list_runs()
    with pytest.raises(SweepError, match="is not in"):
        find_sweep(sweep.id)
