"""Runs: all of them in a table, to compare, name, take along or delete; and runs from elsewhere."""

import streamlit as st

from minivit.runs import list_runs
from pages.parts.frame import frame, run_title
from pages.parts.manage import compare_curves, delete_runs, let_in, rename_run, take_run_along
from pages.parts.runs import run_links, sparkline

with frame(
    "Runs", "All runs on this machine. Tick one to open, name or take along, several to compare, any to delete."
):
    runs = list_runs()
    if not runs:
        st.info("There is no run yet.")
        st.page_link("pages/train.py", label="Train a model", icon=":material/arrow_forward:")
        let_in()
        st.stop()
    metrics = [run.metrics() for run in runs]
    table = {
        "run": [run_title(run) for run in runs],
        "state": [run.state.phase for run in runs],
        "epoch": [run.state.epoch for run in runs],
        "held-out accuracy": [rows[-1]["test_acc"] if rows else None for rows in metrics],
        "over training": [sparkline([row["test_acc"] for row in rows]) for rows in metrics],
        "model": [f"{run.config.model.depth} × {run.config.model.num_heads}" for run in runs],
        "data set": [run.config.dataset for run in runs],
        "folder": [str(run.path) for run in runs],
    }
    chosen = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="multi-row",
        key=f"runs_table_{hash(tuple(run.id for run in runs))}",  # ticks are row numbers: other runs, another table
        column_config={
            "held-out accuracy": st.column_config.NumberColumn(format="percent"),
            "model": st.column_config.TextColumn(help="Layers × heads."),
            "over training": st.column_config.LineChartColumn(y_min=0, y_max=1),
        },
    ).selection.rows  # fmt: skip
    picked = [runs[row] for row in chosen if row < len(runs)]
    if len(picked) == 1:
        run_links(picked[0])
        rename_run(picked[0])
        take_run_along(picked[0])
    elif picked:
        compare_curves(picked)
    delete_runs(picked, len(runs))
    let_in()
