"""Runs: all of them in a table, to compare, tag, clone, export or delete; and imports."""

import streamlit as st

from minivit.runs import list_runs
from pages.parts.runs.comparison import compare_runs
from pages.parts.runs.imports import import_forms
from pages.parts.runs.manage import damaged_runs, describe_run, export_run, run_actions, run_settings
from pages.parts.runs.status import run_links
from pages.parts.runs.table import pick_rows, search_field, sweep_links
from pages.parts.shell.frame import frame
from pages.parts.shell.pickers import no_runs

with frame("Runs", "Select runs to open, compare, tag, clone, export or delete. Sweeps are grouped."):
    runs = list_runs()
    if not runs:
        no_runs()
        damaged_runs(runs)
        import_forms()
        st.stop()
    matching = search_field(runs)
    rows = pick_rows(matching) if matching else []
    selected = [run for row in rows for run in row]
    if len(rows) == 1:
        sweep_links(rows[0])
    run_actions(selected, len(runs))
    if len(selected) == 1:
        run_links(selected[0])
        describe_run(selected[0])
        run_settings(selected[0])
        export_run(selected[0])
    elif selected:
        compare_runs(selected)
    damaged_runs(runs, selected)
    import_forms()
