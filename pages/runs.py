"""Runs: all of them in a table, to compare, name, take along or delete; and runs from elsewhere."""

import streamlit as st

from minivit.runs import group_by_sweep, list_runs
from pages.parts.runs.cards import open_or_fold, run_links, run_table, unfolded
from pages.parts.runs.manage import compare_curves, delete_runs, let_in, rename_run, take_run_along
from pages.parts.shell.frame import frame
from pages.parts.shell.pickers import no_runs

with frame(
    "Runs",
    "All runs on this machine. Tick one to open, name or take along, several to compare, any to delete. A sweep is one "
    "line, which opens.",
):
    runs = list_runs()
    if not runs:
        no_runs()
        let_in()
        st.stop()
    lines = [line for folded in group_by_sweep(runs) for line in unfolded(folded)]
    table = run_table(lines)
    chosen = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="multi-row",
        key=f"runs_table_{hash(tuple(tuple(run.id for run in line) for line in lines))}",  # ticks are row numbers
        column_config={
            "test accuracy": st.column_config.NumberColumn(format="percent"),
            "model": st.column_config.TextColumn(help="Layers × heads."),
            "over training": st.column_config.LineChartColumn(y_min=0, y_max=1),
        },
    ).selection.rows  # fmt: skip
    ticked = [lines[row] for row in chosen if row < len(lines)]
    picked = [run for line in ticked for run in line]
    if len(ticked) == 1:
        open_or_fold(ticked[0])
    if len(picked) == 1:
        run_links(picked[0])
        rename_run(picked[0])
        take_run_along(picked[0])
    elif picked:
        compare_curves(picked)
    delete_runs(picked, len(runs))
    let_in()
