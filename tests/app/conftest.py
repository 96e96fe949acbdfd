"""Pages as AppTest runs them: the script alone, without a browser, on a folder of runs of the test's own."""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from minivit.config import TrainConfig, preset
from minivit.engine import SILENT, train
from minivit.runs import Run, default_runs_dir

ROOT = Path(__file__).parents[2]
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def trained_config(image_folder: Path) -> TrainConfig:
    """3 classes of a folder, not in the folder's order; 2 layers of 2 heads."""
    return preset("article").changed(
        dataset="folder",
        data_dir=str(image_folder),
        classes=("star", "cross", "circle"),
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        epochs=3,
        batch_size=32,
        lr=0.01,
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="session")
def trained_once(trained_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Run.create(trained_config, tmp_path_factory.mktemp("trained"))
    train(trained_config, run, SILENT)
    return run.path


@pytest.fixture
def trained(trained_once: Path) -> Run:
    """A finished run of epochs 0 to 3, the only one there is; a copy, so that a test may change it."""
    copy = default_runs_dir() / trained_once.name
    shutil.copytree(trained_once, copy)
    return Run.open(copy)


@pytest.fixture
def swept_runs(trained: Run) -> list[Run]:
    """Three more runs, trials of a sweep, newest first; the second is the best, and all are older than `trained`."""
    runs = []
    for number, accuracy in ((3, 0.5), (2, 0.9), (1, 0.25)):
        path = trained.path.with_name(f"20200101-00000{number}-star")
        shutil.copytree(trained.path, path)
        (path / "sweep.txt").write_text("20200101-000000-lr-num_heads")
        runs.append(Run.open(path))
        runs[-1].append_metrics({**trained.metrics()[-1], "epoch": 4, "test_acc": accuracy})
    return runs


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that a page gave to a worker; no process is started."""
    runs: list[Run] = []
    monkeypatch.setattr("pages.parts.runs.status.start_worker", runs.append)
    return runs


@pytest.fixture(autouse=True)
def times_are_known(monkeypatch: pytest.MonkeyPatch, packages_are_scanned_once: None) -> None:
    """A page says how long a training takes in its first run, and no steps are timed for that."""
    monkeypatch.setattr("pages.parts.settings.form.WAIT_SECONDS", 60)
    monkeypatch.setattr("pages.parts.settings.form.estimate_seconds", lambda *_: 7.0)


@pytest.fixture
def open_page() -> Iterator[Open]:
    """Runs a page, with names and values in its URL; nothing but what MiniViT tells may go wrong."""
    opened: list[AppTest] = []

    def run(name: str = "dashboard", **params: Any) -> AppTest:
        app = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=60)
        if name != "dashboard":
            app.switch_page(f"pages/{name}.py")
        for key, value in params.items():
            app.query_params[key] = str(value)
        opened.append(app)
        return app.run()

    yield run
    st.cache_data.clear()
    for app in opened:
        assert not app.exception, app.exception


def charts(app: AppTest) -> list[go.Figure]:
    """The Plotly figures of a page, as the browser is given them."""
    return [go.Figure(_unpacked(json.loads(element.proto.spec))) for element in app.get("plotly_chart")]


def _unpacked(spec: Any) -> Any:
    """A part of a figure's JSON with its packed numbers as arrays."""
    if isinstance(spec, list):
        return [_unpacked(element) for element in spec]
    if not isinstance(spec, dict):
        return spec
    if "bdata" in spec:
        shape = [int(length) for length in str(spec.get("shape", "-1")).split(",")]
        return np.frombuffer(base64.b64decode(spec["bdata"]), spec["dtype"]).reshape(shape)
    return {name: _unpacked(value) for name, value in spec.items()}


def live(app: AppTest) -> dict[str, Any]:
    """What the live part of the Train page was given to draw."""
    (sent,) = [element.proto.bytes for element in app.get("bidi_component") if element.proto.bytes]
    return json.loads(sent)


def galleries(page: AppTest) -> list[dict[str, Any]]:
    """What the galleries of a page are given."""
    return [data for data in components(page) if "sheet" in data]


def sent(page: AppTest) -> dict[str, Any]:
    """What a page's one component besides galleries is given."""
    (data,) = (data for data in components(page) if "sheet" not in data)
    return data


def components(page: AppTest) -> list[dict[str, Any]]:
    """What the browser components of a page are given."""
    return [json.loads(element.proto.mixed.json or element.proto.json) for element in page.get("bidi_component")]


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pages.parts.components.component.packed` packed."""
    return np.frombuffer(base64.b64decode(packed["base64"]), packed["dtype"]).reshape(packed["shape"])


def errors(app: AppTest) -> list[str]:
    """The sentences that say what to mend, as a person reads them."""
    return [re.sub(r"\\(.)", r"\1", element.value) for element in app.error]


def captions(app: AppTest) -> list[str]:
    """The small texts of a page."""
    return [caption.value for caption in app.caption]


def tick(page: AppTest, *rows: int) -> AppTest:
    """The page with some rows of the table ticked."""
    key = page.dataframe[0].proto.id.split("-", 2)[-1]  # after "$$ID" and a hash
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return page.run()


def button(app: AppTest, label: str) -> Any:
    """The one button whose label begins like that."""
    (button,) = [element for element in app.button if element.label.startswith(label)]
    return button


def labels(app: AppTest) -> list[str]:
    """The labels of all buttons."""
    return [element.label for element in app.button]


def widget(app: AppTest, kind: str, label: str) -> Any:
    """The one widget of a kind and a label, its unit left out."""
    (widget,) = [element for element in app.get(kind) if re.sub(r" \(.*", "", element.label) == label]
    return widget
