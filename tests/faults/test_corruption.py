"""One damaged run affects nobody else: it is shown as far as it can be read, or named, and can be deleted."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from minivit.background_predictions import predict_and_save, predictions_so_far
from minivit.config import preset
from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.errors import MiniViTError
from minivit.inference import predict_run
from minivit.runs import Run, annotate, delete_unreadable, find_damage, find_run, list_runs, unreadable_runs
from minivit.runs.pictures import save_picture, saved_pictures
from pages.parts.runs.table import table_columns
from pages.parts.train.poller import headline
from tests.faults.corruption import PICTURE, damage

ROOT = Path(__file__).parents[2]
PAGES = ("dashboard", "runs", "train", "predictions", "attention", "compare")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> Path:
    config = preset("article").changed(
        dataset="folder", data_dir=str(image_folder), classes=("star", "circle"), patch_size=8, embed_dim=16, epochs=2
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MINIVIT_DATA", str(tmp_path_factory.mktemp("data")))
        patched.setenv("MINIVIT_LOCKS", str(tmp_path_factory.mktemp("locks")))
        torch.set_num_threads(1)
        run = Run.create(config.changed(device="cpu", threads=1), tmp_path_factory.mktemp("trained"))
        train(run.config, run, SILENT)
        run.rename("A name")
        annotate(run, tags=["a tag"], note="A note", favorite=True)
        save_picture(run, PICTURE, ".png")
        run.set_environment({**run.environment, "head_classes": 2})
        predict_and_save(run, 1, load_split(run.config)[1])
    return run.path


@pytest.fixture
def variants(request: pytest.FixtureRequest) -> range:
    first = request.config.getoption("--first-variant")
    return range(first, first + request.config.getoption("--variants"))


@pytest.fixture
def page_variants(request: pytest.FixtureRequest) -> range:
    first = 10_000 + request.config.getoption("--first-variant")
    return range(first, first + request.config.getoption("--page-variants"))


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> tuple[Run, Path]:
    """A healthy run, and the path of another one for each variant, in the runs folder."""
    healthy = tmp_path / "runs" / "20200101-000000-healthy"
    shutil.copytree(trained, healthy)
    return Run.open(healthy), tmp_path / "runs" / "20200202-000000-damaged"


def test_whatever_is_damaged_is_left_out_and_the_run_can_be_deleted(
    runs: tuple[Run, Path], trained: Path, variants: range
) -> None:
    healthy, path = runs
    table = table_columns([[healthy]])
    for seed in variants:
        shutil.copytree(trained, path)
        done = damage(Run.open(path), seed)
        try:
            look_at_everything(path.name)
            if "resume.safetensors" in done:
                continue_training(Run.open(path))
            assert healthy in list_runs() and table_columns([[healthy]]) == table
            delete(path.name)
        except Exception as error:
            raise AssertionError(done) from error
        assert not path.exists() and not path.is_symlink(), done
        assert [entry.name for entry in path.parent.iterdir()] == [healthy.id], done


def look_at_everything(name: str) -> None:
    """All that pages read of a run; user errors are what they show."""
    for run in list_runs():
        columns = table_columns([[run]])
        assert all(accuracy is None or 0 <= accuracy <= 100 for accuracy in columns["test accuracy"])
        assert not any(word in headline(run, run.state, run.metrics()).lower() for word in ("nan", "inf", "-100"))
        assert all(isinstance(line, str) for line in find_damage(run, weights=True))
        assert run.log() is not None and run.requested_command() in (None, "pause", "resume", "stop")
    unreadable = unreadable_runs()
    with suppress(MiniViTError):
        run = find_run(name)
        assert name not in unreadable
        for path in saved_pictures(run).values():
            path.read_bytes()
        for epoch in run.epochs():
            with suppress(MiniViTError):
                assert 0 <= predict_run(run, epoch).accuracy <= 1
            with suppress(MiniViTError):
                saved = predictions_so_far(run, epoch, load_split(run.config)[1])
                assert not len(saved) or (0 <= saved.accuracy <= 1 and saved.confusion.sum() == len(saved))
        run.load_resume()


def continue_training(run: Run) -> None:
    """Trains another epoch, or refuses; nothing else is recorded."""
    run.set_config(run.config.changed(epochs=3))
    run.set_state("stopped", 2)
    with suppress(MiniViTError):
        train(run.config, run, SILENT)
    epochs = [row["epoch"] for row in run.metrics()]
    assert epochs == ([0, 1, 2, 3] if run.state.phase == "done" else [0, 1, 2]), run.state
    run.set_state("stopped")


def delete(name: str) -> None:
    if name in unreadable_runs():
        delete_unreadable(name)
    else:
        run = find_run(name)
        if run.state.active:  # a state that says so, although nobody trains it
            run.set_state("stopped")
        run.delete()


@pytest.mark.usefixtures("packages_are_scanned_once")
def test_pages_show_damaged_runs_without_a_traceback_and_the_others_as_before(
    runs: tuple[Run, Path], trained: Path, page_variants: range
) -> None:
    healthy, path = runs
    for seed in page_variants:
        shutil.copytree(trained, path)
        done = damage(Run.open(path), seed)
        for page in PAGES:
            app = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=60)
            if page != "dashboard":
                app.switch_page(f"pages/{page}.py")
            app.query_params["run"] = path.name
            app.run()
            assert not app.exception, (done, page, app.exception)
        assert any("2020" in str(part.value) for part in app.get("selectbox")) or app.error, done
        shutil.rmtree(path)
    assert find_run(healthy.id).metrics() == healthy.metrics()
