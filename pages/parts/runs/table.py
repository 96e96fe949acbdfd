"""All runs as a table with one row for each run or sweep, a search, and the rows that are selected."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from minivit.config import TrainConfig
from minivit.runs import Run, group_by_sweep, read_annotations, search, summarize
from minivit.runs.comparison import different_settings, format_value
from minivit.runs.summary import SELECTION_BIAS, best_run, most_urgent
from pages.parts.shell.frame import show_errors
from pages.parts.shell.url import bind_to_url, param, param_button, set_params
from pages.parts.shell.wording import group_title

SEARCH_HELP = (
    "Words of the name, folder, class, state or note; a day, such as `29 nov`; `#baseline` for a tag; `is:favorite`; "
    "a score or setting, such as `accuracy>0.7`, `loss<=0.5`, `lr=0.001` or `depth!=1`. Runs that match all of them "
    "are listed."
)
CELLS: dict[Any, Callable[..., Any]] = {
    float: partial(st.column_config.NumberColumn, format="%g"),
    int: st.column_config.NumberColumn,
    bool: st.column_config.CheckboxColumn,
}


def search_field(runs: list[Run]) -> list[Run]:
    """The runs that the URL's `search` matches, with a field that sets it; all if it is empty."""
    query = param("search")
    if len(runs) < 2 and not query:
        return runs
    query = bind_to_url(
        "search",
        query,
        st.text_input,
        "Search",
        placeholder="name, class, state, #tag, accuracy>0.7 or a setting, such as lr=0.001",
        icon=":material/search:",
        help=SEARCH_HELP,
    )
    matching: list[Run] = []
    with show_errors():
        matching = search(runs, query)
        if not matching:
            st.info("No run matches. Clear the search field to see all runs.")
        elif len(matching) < len(runs):
            st.caption(f"{len(matching):,} of {len(runs):,} runs")
    return matching


def pick_rows(runs: list[Run]) -> list[list[Run]]:
    """The table, favorites first; returns the runs of each row that the URL's `selected` or the user selected."""
    rows = [row for group in group_by_sweep(runs) for row in _expand(group)]
    rows.sort(key=lambda row: not any(read_annotations(run).favorite for run in row))
    names = [row[0].id if len(row) == 1 else row[0].sweep for row in rows]
    key = f"runs_table_{hash(tuple(tuple(run.id for run in row) for row in rows))}"
    link = param("selected")
    if key not in st.session_state or st.session_state.get("runs_link", "") != link:
        names_in_url = set(link.split(","))
        indices = [index for index, name in enumerate(names) if name in names_in_url]
        st.session_state[key] = {"selection": {"rows": indices, "columns": [], "cells": []}}
    selected = st.dataframe(
        table_columns(rows),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        column_config=column_config([best_run(row).config for row in rows]),
    ).selection.rows
    selected = [index for index in selected if index < len(rows)]
    set_params(selected=[names[index] for index in selected])
    st.session_state["runs_link"] = param("selected")
    return [rows[index] for index in selected]


def table_columns(rows: list[list[Run]]) -> dict[str, list[Any]]:
    """The columns of the table; a sweep shows the metrics and settings of its best run."""
    best = [best_run(row) for row in rows]
    states = [most_urgent(row) for row in rows]
    summaries = [summarize(run) for run in best]
    annotations = [read_annotations(run) for run in best]
    columns: dict[str, list[Any]] = {
        "★": ["★" if each.favorite else "" for each in annotations],
        "run": [group_title(row) for row in rows],
        "tags": [each.tags for each in annotations],
        "state": [state.phase for state in states],
        "epoch": [state.epoch for state in states],
        "test accuracy": [percent(summary.test_acc) for summary in summaries],
        "accuracy curve": [summary.accuracies for summary in summaries],
        **setting_columns([run.config for run in best]),
        "folder": [str(run.path) for run in best],
    }
    return {name: cells for name, cells in columns.items() if any(cells) or name not in ("★", "tags")}


def percent(share: float | None) -> float | None:
    """A share, 0..1, for a column of percentages."""
    return None if share is None else 100 * share


def setting_columns(configs: Sequence[TrainConfig]) -> dict[str, list[Any]]:
    """A column for each setting in which these configurations differ."""
    return {
        setting.name: [
            format_value(value) if isinstance(value, tuple) else value for value in map(setting.value, configs)
        ]
        for setting in different_settings(configs)
    }


def column_config(configs: Sequence[TrainConfig]) -> dict[str, Any]:
    """How the columns of `table_columns` and `setting_columns` are drawn."""
    return {
        "★": st.column_config.TextColumn(width=40, help="Favorite"),
        "line": st.column_config.TextColumn(width=80, help="Color and dashes in the charts"),
        "test accuracy": st.column_config.NumberColumn(format="%.1f%%"),
        "best accuracy": st.column_config.NumberColumn(format="%.1f%%", help=f"The best epoch is {SELECTION_BIAS}."),
        "best epoch": st.column_config.NumberColumn(help="Marked with a star in the charts."),
        "accuracy curve": st.column_config.LineChartColumn(y_min=0, y_max=1),
        **{
            setting.name: CELLS.get(setting.kind, st.column_config.TextColumn)(help=f"{setting.title}. {setting.help}")
            for setting in different_settings(configs)
        },
    }


def sweep_links(row: list[Run]) -> None:
    """For the row of a sweep or of one of its runs: a link to the sweep, and a button that expands or groups it."""
    sweep = row[0].sweep
    if not sweep:
        return
    expanded = param("sweep") == sweep
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link("pages/sweeps.py", label="Open sweep", query_params={"sweep": sweep})
        if expanded or len(row) > 1:
            label = "Collapse" if expanded else f"Show {len(row)} runs"
            param_button(label, "runs_expand", {"sweep": None if expanded else sweep})


def _expand(group: list[Run]) -> list[list[Run]]:
    """A row for each run of the URL's sweep, one row for any other group."""
    return [[run] for run in group] if group[0].sweep and group[0].sweep == param("sweep") else [group]
