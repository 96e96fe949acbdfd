"""The form of Train."""

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from minivit.config import settings
from tests.app.conftest import widget

START = "Start training"  # the button


def on_folder(page: AppTest, folder: Path) -> AppTest:
    """The page with the images of a folder chosen."""
    widget(page, "selectbox", "Data set").select("folder").run()
    return widget(page, "text_input", "Folder").set_value(str(folder)).run()


def set_to(page: AppTest, name: str, value: Any) -> None:
    """Sets one setting without running the page yet."""
    setting = next(setting for setting in settings() if setting.name == name)
    kind = "toggle" if setting.kind is bool else "selectbox" if setting.choices else "number_input"
    widget(page, kind, setting.title).set_value(value)
