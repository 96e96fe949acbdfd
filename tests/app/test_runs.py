"""Runs: all in a table; what is deleted is what was ticked."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest
from timm.models.vision_transformer import VisionTransformer

from minivit.runs import Run, list_runs
from tests.app.conftest import Open, button, errors, labels, widget


def tick(page: AppTest, *rows: int, deleting: bool = True) -> AppTest:
    """The page with some rows of the table ticked."""
    key = page.dataframe[0].proto.id.split("-", 2)[-1]  # after "$$ID" and a hash
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    page.run()
    return page.toggle[0].set_value(True).run() if deleting else page


def test_all_runs_stand_in_the_table_newest_first(open_page: Open, trained: Run) -> None:
    shutil.copytree(trained.path, trained.path.with_name("20200101-000000-older"))
    table = open_page("runs").dataframe[0].value
    assert table["folder"].tolist() == [str(run.path) for run in list_runs()]
    assert table["epoch"].tolist() == [3, 3]
    assert "Delete" not in " ".join(labels(open_page("runs")))


def test_only_what_was_ticked_is_deleted(open_page: Open, trained: Run) -> None:
    older, oldest = (trained.path.with_name(f"{year}0101-000000-star") for year in (2020, 2010))
    for copy in (older, oldest):
        shutil.copytree(trained.path, copy)
    page = tick(open_page("runs"), 1)
    assert any(str(older) in text.value for text in page.text)
    button(page, "Delete 1 of 3 runs for good").click().run()
    assert [run.id for run in list_runs()] == [trained.id, oldest.name]
    assert not [label for label in labels(page) if "Delete" in label]  # the next one is not ticked instead


def test_a_run_that_came_meanwhile_is_not_deleted_in_the_place_of_the_ticked_one(open_page: Open, trained: Run) -> None:
    page = tick(open_page("runs"), 0)
    newer = trained.path.with_name("20991231-000000-newer")
    shutil.copytree(trained.path, newer)
    button(page, "Delete 1 of 1 runs for good").click().run()
    assert newer.exists()


def test_a_run_in_training_is_not_deleted(open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "is_worker_alive", lambda run: True)
    page = tick(open_page("runs"), 0)
    button(page, "Delete 1 of 1 runs for good").click().run()
    assert errors(page) == [f"A worker is training the run {trained.id}. Stop it before you delete the run."]
    assert trained.path.exists()


def test_a_ticked_run_is_renamed_and_taken_along(open_page: Open, trained: Run) -> None:
    page = tick(open_page("runs"), 0, deleting=False)
    files = [one.label for one in page.get("download_button")]
    assert files == ["Run as .zip", "Report (one HTML page)", "Model as ONNX, with attention"]
    assert "LayerNorm" in " ".join(one.value for one in page.caption)  # why there is no file for timm
    page.text_input[0].set_value("My *first* model")
    button(page, "Rename").click().run()
    assert trained.name == "My *first* model"
    assert page.dataframe[0].value["run"][0].startswith("My *first* model, ")


def test_several_ticked_runs_are_compared_on_one_chart(open_page: Open, trained: Run) -> None:
    shutil.copytree(trained.path, trained.path.with_name("20200101-000000-older"))
    page = tick(open_page("runs"), 0, 1, deleting=False)
    (chart,) = page.get("plotly_chart")
    assert chart.proto.spec.count('"test accuracy"') == 1 and chart.proto.spec.count('"name"') >= 2
    assert not page.get("download_button")


def test_a_model_of_timms_is_opened_from_the_form_or_refused_in_words(
    open_page: Open, image_folder: Path, tmp_path: Path
) -> None:
    page = open_page("runs")
    widget(page, "text_input", "Weights file").set_value(str(tmp_path / "nowhere.safetensors"))
    widget(page, "text_input", "Image folder").set_value(str(image_folder))
    button(page, "Import this model").click().run()
    assert "nowhere.safetensors cannot be read" in errors(page)[0]
    theirs = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    widget(page, "text_input", "Weights file").set_value(str(tmp_path / "vit.safetensors"))
    button(page, "Import this model").click().run()
    (run,) = list_runs()
    assert run.config.imported and run.name == "vit"
    assert not errors(page)


def test_a_sweep_is_one_line_that_opens_and_folds(open_page: Open, trained: Run, swept_runs: list[Run]) -> None:
    page = tick(open_page("runs"), 1, deleting=False)
    table = page.dataframe[0].value
    assert table["run"].tolist()[1] == "sweep of lr, num_heads, 01 Jan 00:00:00 · 3 runs"
    assert table["test accuracy"].tolist()[1] == 0.9 and len(table) == 2
    button(page, "List its 3 runs").click().run()
    assert page.query_params["sweep"] == swept_runs[0].sweep
    assert page.dataframe[0].value["folder"].tolist() == [str(run.path) for run in (trained, *swept_runs)]
    button(tick(page, 2, deleting=False), "Group its runs").click().run()
    assert len(page.dataframe[0].value) == 2


def test_a_ticked_sweep_is_all_its_runs_and_no_other(open_page: Open, trained: Run, swept_runs: list[Run]) -> None:
    page = tick(open_page("runs"), 1)
    assert all(any(str(run.path) in text.value for text in page.text) for run in swept_runs)
    button(page, "Delete 3 of 4 runs for good").click().run()
    assert [run.id for run in list_runs()] == [trained.id]


def test_a_trial_that_came_meanwhile_is_not_deleted_with_its_sweep(
    open_page: Open, trained: Run, swept_runs: list[Run]
) -> None:
    page = tick(open_page("runs"), 1)
    shutil.copytree(swept_runs[2].path, swept_runs[2].path.with_name("20200101-000000-star"))
    button(page, "Delete 3 of 4 runs for good").click().run()
    assert len(list_runs()) == 5
