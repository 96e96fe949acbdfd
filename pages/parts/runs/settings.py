"""The settings of a run as a table, compared with the article."""

from typing import Any

import streamlit as st

from minivit.config import TrainConfig, preset, settings
from minivit.runs import Run
from pages.parts.settings.fields import start_from
from pages.parts.shell.access import may_change
from pages.parts.shell.url import open_page


def run_settings(run: Run) -> None:
    """All settings of a run beside the article's; those that differ come first."""
    with st.expander("Settings"):
        if may_change() and not run.config.imported:
            label = "Copy to the Train form"
            if st.button(label, key="runs_copy", icon=":material/content_copy:", on_click=start_from, args=(run,)):
                open_page("train", run=run.id)
        rows = _rows({"value": run.config, "in the article": preset("article")})
        st.dataframe(sorted(rows, key=lambda row: row["value"] == row["in the article"]), hide_index=True)


def _rows(configs: dict[str, TrainConfig]) -> list[dict[str, str]]:
    """A row for each setting: its title, its name on the command line, and its value in each configuration."""
    derived = {
        "drawing": any(config.dataset == "shapes" for config in configs.values()),
        "lr_changes": any(config.lr_changes for config in configs.values()),
    }
    return [
        {"setting": setting.title, "name": setting.name}
        | {title: _text(setting.value(config)) for title, config in configs.items()}
        for setting in (*settings(), *settings("derived"))
        if setting.group != "derived" or derived.get(setting.name)
    ]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
