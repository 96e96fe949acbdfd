"""Runs: all of them in a table, to compare, rename, export or delete; and imports."""

import streamlit as st

from minivit.runs import list_runs
from pages.parts.runs.imports import import_forms
from pages.parts.runs.manage import compare_curves, damaged_runs, delete_runs, export_run, rename_run
from pages.parts.runs.settings import different_settings, run_settings
from pages.parts.runs.status import run_links
from pages.parts.runs.table import pick_rows, search, sweep_links
from pages.parts.shell.frame import frame
from pages.parts.shell.pickers import no_runs

with frame("Runs", "Select runs to open, compare, rename, export or delete. Sweeps are grouped."):
    runs = list_runs()
    if not runs:
        no_runs()
        damaged_runs(runs)
        import_forms()
        st.stop()
    matching = search(runs)
    rows = pick_rows(matching) if matching else []
    selected = [run for row in rows for run in row]
    if len(rows) == 1:
        sweep_links(rows[0])
    if len(selected) == 1:
        run_links(selected[0])
        run_settings(selected[0])
        rename_run(selected[0])
        export_run(selected[0])
    elif selected:
        compare_curves(selected)
        different_settings(selected)
    delete_runs(selected, len(runs))
    damaged_runs(runs)
    import_forms()
