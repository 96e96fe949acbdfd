"""All runs as a table with one row for each run or sweep."""

from typing import Any

import streamlit as st

from minivit.config import settings
from minivit.runs import Run, group_by_sweep
from pages.parts.runs.groups import accuracy_curve, best_run, most_urgent, sparkline
from pages.parts.shell.url import bind_to_url, param, set_params
from pages.parts.shell.wording import group_title, run_title


def search(runs: list[Run]) -> list[Run]:
    """The runs that the URL's `search` matches, with a field that sets it; all if it is empty."""
    query = param("search")
    if len(runs) < 2 and not query:
        return runs
    query = bind_to_url(
        "search",
        query,
        lambda **options: st.text_input(
            "Search",
            placeholder="name, class, state or a setting, such as lr=0.001",
            icon=":material/search:",
            **options,
        ),
    )
    matching = [run for run in runs if matches(run, query)] if query else runs
    if not matching:
        st.info("No run matches. Clear the search field to see all runs.")
    elif len(matching) < len(runs):
        st.caption(f"{len(matching):,} of {len(runs):,} runs")
    return matching


def matches(run: Run, query: str) -> bool:
    """Whether each word of the query is part of the run's title, folder, state or classes, or one of its settings.

    A setting is written as `name=value`, with its name on the command line.
    """
    text = " ".join([run_title(run), run.id, run.sweep, run.state.phase, *run.config.classes]).lower()
    values = {f"{setting.name}={setting.value(run.config)}".lower() for setting in settings()}
    return all(word in values if "=" in word else word in text for word in query.lower().split())


def pick_rows(runs: list[Run]) -> list[list[Run]]:
    """The table; returns the runs of each selected row."""
    rows = [row for group in group_by_sweep(runs) for row in _expand(group)]
    key = hash(tuple(tuple(run.id for run in row) for row in rows))
    selected = st.dataframe(
        table_columns(rows),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"runs_table_{key}",
        column_config={
            "test accuracy": st.column_config.NumberColumn(format="percent"),
            "model": st.column_config.TextColumn(help="Layers × heads."),
            "accuracy curve": st.column_config.LineChartColumn(y_min=0, y_max=1),
        },
    ).selection.rows
    return [rows[index] for index in selected if index < len(rows)]


def table_columns(rows: list[list[Run]]) -> dict[str, list[Any]]:
    """The columns of the table; a sweep shows the metrics of its best run."""
    best = [row[0] if len(row) == 1 else best_run(row) for row in rows]
    states = [most_urgent(row) for row in rows]
    curves = [accuracy_curve(run) for run in best]
    return {
        "run": [group_title(row) for row in rows],
        "state": [state.phase for state in states],
        "epoch": [state.epoch for state in states],
        "test accuracy": [curve[-1] if curve else None for curve in curves],
        "accuracy curve": [sparkline(curve) for curve in curves],
        "model": [f"{run.config.model.depth} × {run.config.model.num_heads}" for run in best],
        "data set": [run.config.dataset for run in best],
        "folder": [str(run.path) for run in best],
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
            st.button(
                "Collapse" if expanded else f"Show {len(row)} runs",
                key="runs_expand",
                on_click=set_params,
                kwargs={"sweep": None if expanded else sweep},
            )


def _expand(group: list[Run]) -> list[list[Run]]:
    """A row for each run of the URL's sweep, one row for any other group."""
    return [[run] for run in group] if group[0].sweep and group[0].sweep == param("sweep") else [group]
