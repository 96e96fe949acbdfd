"""Runs: all in a table; what is deleted is what was ticked."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from minivit.runs import Run, list_runs
from tests.app.conftest import Open, button, labels, told


def tick(page: AppTest, *rows: int) -> AppTest:
    """The page with some rows of the table ticked."""
    key = page.dataframe[0].proto.id.split("-", 2)[-1]  # after "$$ID" and a hash
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    page.run()
    return page.toggle[0].set_value(True).run()


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
    monkeypatch.setattr(Run, "worker_alive", lambda run: True)
    page = tick(open_page("runs"), 0)
    button(page, "Delete 1 of 1 runs for good").click().run()
    assert told(page) == [f"A worker is still busy with the run {trained.id}. Stop it before you delete it."]
    assert trained.path.exists()
