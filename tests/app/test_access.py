"""What visitors may do: everything, what lies in some folders, or only look."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import streamlit as st
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from streamlit.runtime import Runtime
from streamlit.starlette import App
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from minivit.errors import AccessError
from minivit.runs import Phase, Run
from pages.parts.shell.access import allowed_path, may_upload, mode, require_change, requires_login
from pages.parts.shell.server import Guard, page_routes
from tests.app.conftest import Open, button, errors, labels, widget

CHANGES = (
    *("Start", "Train", "Pause", "Stop", "Resume", "Retry", "Save", "Delete", "Import", "Unpack"),
    *("Add", "Remove", "Queue"),
)
PAGES = ["dashboard", "data", "train", "sweeps", "predictions", "attention", "compare", "anatomy", "runs"]


@pytest.fixture
def only_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVIT_MODE", "view")


@pytest.mark.usefixtures("only_view")
@pytest.mark.parametrize("name", PAGES)
def test_view_mode_offers_nothing_that_changes_anything(open_page: Open, trained: Run, name: str) -> None:
    trained.set_state("stopped", 2)
    page = open_page(name, run=trained.id, trust="true")
    assert not errors(page)
    assert not [label for label in labels(page) if label.startswith(CHANGES)]
    assert not page.get("file_uploader") and not page.get("camera_input")
    assert not [field for field in page.text_input if field.label in ("Folder", "Weights", "Image folder", "Name")]
    if name == "runs":
        key = page.dataframe[0].proto.id.split("-", 2)[-1]
        page.session_state[key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
        page.run()
        assert not [label for label in labels(page) if label.startswith(CHANGES)]


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of a server whose visitors must log in."""
    provider = {"client_id": "vit", "client_secret": "x", "server_metadata_url": "http://127.0.0.1:1/"}
    auth = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "y" * 32, **provider}
    monkeypatch.setattr(st.secrets, "_secrets", {"auth": auth})


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("name", PAGES)
def test_a_visitor_who_has_not_logged_in_sees_a_login_button_and_nothing_else(
    open_page: Open, trained: Run, name: str
) -> None:
    page = open_page(name, run=trained.id)
    assert {element.type for element in (*page.main, *page.sidebar)} == {"main", "sidebar", "button"}
    assert labels(page) == ["Log in"]
    page.user = {"is_logged_in": True}
    assert page.run().title and "Log in" not in labels(page) and "Log out" in labels(page)


@pytest.mark.usefixtures("login")
def test_a_visitor_who_has_not_logged_in_uploads_nothing(client: TestClient) -> None:
    assert client.put("/_stcore/upload_file/session/file", files={"file": b"x"}).content == b""  # not Streamlit's words
    signed = create_signed_value("y" * 32, "_streamlit_user", "{}").decode()
    assert [may_upload({"_streamlit_user": value}) for value in ("forged", signed)] == [False, True]


def test_secrets_that_cannot_be_read_open_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not requires_login()
    (tmp_path / "secrets.toml").write_text("[auth", encoding="utf-8")
    monkeypatch.setattr(st.secrets, "load_if_toml_exists", lambda: False)
    monkeypatch.setattr(st, "get_option", {"secrets.files": [str(tmp_path / "secrets.toml")]}.__getitem__)
    assert requires_login()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Speaks to a server with the routes and the guard of ours, and an empty page."""
    monkeypatch.setattr(Runtime, "_instance", None)  # a process has one; the next test starts another
    (tmp_path / "app.py").write_text("", encoding="utf-8")
    with TestClient(App(str(tmp_path / "app.py"), routes=page_routes(), middleware=[Middleware(Guard)])) as client:
        yield client


@pytest.mark.usefixtures("only_view")
def test_view_mode_rejects_uploaded_files(client: TestClient) -> None:
    assert client.put("/_stcore/upload_file/session/file", files={"file": b"x"}).status_code == 403
    with pytest.raises(AccessError, match="read-only"):
        require_change()


def test_typed_paths_must_be_inside_the_roots_after_resolving_links_and_reveal_nothing_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "set").mkdir(parents=True)
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    monkeypatch.setenv("MINIVIT_ROOTS", str(inside))
    assert allowed_path(inside / "set") == str(inside / "set") and allowed_path("") == ""
    messages = set()
    for path in (
        outside,
        tmp_path / "nowhere",
        inside / "link",
        inside / "set" / ".." / ".." / "outside",
        "/etc",
        "\0",
    ):
        with pytest.raises(AccessError) as error:
            allowed_path(path)
        messages.add(str(error.value).removeprefix(str(path)))
    assert len(messages) == 1


def test_a_refused_path_of_class_names_can_be_corrected_in_the_form(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVIT_ROOTS", str(tmp_path))
    page = open_page("runs")
    widget(page, "text_input", "Class names").set_value("/elsewhere/names.txt")
    button(page, "Import this model").click().run()
    assert errors(page)[0].startswith("/elsewhere/names.txt") and "Import this model" in labels(page)


def test_a_run_whose_images_lie_elsewhere_reads_none_of_them(
    open_page: Open, trained: Run, image_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIVIT_MODE", "share")
    assert "is not in a folder that this server may read" in errors(open_page("predictions", run=trained.id))[0]
    monkeypatch.setenv("MINIVIT_ROOTS", str(shutil.copytree(image_folder, tmp_path / "mine")))
    page = open_page("data")
    widget(page, "selectbox", "Data set").select("folder").run()
    widget(page, "text_input", "Folder").set_value(str(image_folder)).run()
    assert errors(page)[0].startswith(f"{image_folder} is not in a folder")
    widget(page, "text_input", "Folder").set_value(str(tmp_path / "mine")).run()
    assert not errors(page)


@pytest.mark.parametrize(
    ("phase", "label"),
    [("stopped", "Resume"), ("done", "Continue training"), ("done", "Two other seeds"), ("done", "Shuffled labels")],
)
def test_a_run_whose_images_lie_elsewhere_is_not_trained(
    open_page: Open, trained: Run, started: list[Run], monkeypatch: pytest.MonkeyPatch, phase: Phase, label: str
) -> None:
    trained.set_state(phase, 3)
    monkeypatch.setenv("MINIVIT_MODE", "share")
    page = button(open_page("train", run=trained.id), label).click().run()
    assert any("is not in a folder that this server may read" in error for error in errors(page))
    assert not started and Run.open(trained.path).config == trained.config


def test_an_unknown_mode_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVIT_MODE", "veiw")
    with pytest.raises(AccessError, match="'veiw'"):
        mode()


def test_where_paths_are_restricted_no_sweep_is_stored_elsewhere(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [each.label for each in open_page("sweeps").text_input]
    monkeypatch.setenv("MINIVIT_MODE", "share")
    restricted = [each.label for each in open_page("sweeps").text_input]
    assert set(labels) - set(restricted) == {"Optuna storage URL"}


def test_a_connection_without_an_origin_is_rejected(client: TestClient) -> None:
    connect = partial(client.websocket_connect, "/_stcore/stream", subprotocols=["streamlit"])
    with pytest.raises(WebSocketDisconnect), connect():
        pass
    with connect(headers={"Origin": "http://localhost:8501"}):
        pass


def test_pages_are_served_below_the_path_that_a_proxy_has_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "get_option", {"server.baseUrlPath": "/lab/vit/"}.__getitem__)
    assert {"/lab/vit/", "/lab/vit/attention"} <= {route.path for route in page_routes()}


def test_no_page_of_another_origin_may_show_ours_in_a_frame(client: TestClient) -> None:
    for name in ("", "attention", "index.html", "no-page", "Attention", "static/x"):
        headers = client.get(f"/{name}").headers
        assert headers["content-security-policy"] == "frame-ancestors 'self'"
        assert headers["x-frame-options"] == "SAMEORIGIN"
