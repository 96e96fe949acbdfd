"""Runs: all of them in a table, to open or to delete."""

import streamlit as st

from minivit.runs import list_runs
from pages.parts.frame import frame, run_title
from pages.parts.runs import run_links

with frame(
    "Runs", "All runs on this machine. Tick some to open or delete them; a run is a folder that can be copied whole."
):
    runs = list_runs()
    if not runs:
        st.info("There is no run yet.")
        st.page_link("pages/train.py", label="Train a model", icon=":material/arrow_forward:")
        st.stop()
    metrics = [run.metrics() for run in runs]
    table = {
        "run": [run_title(run) for run in runs],
        "state": [run.state.phase for run in runs],
        "epoch": [run.state.epoch for run in runs],
        "held-out accuracy": [rows[-1]["test_acc"] if rows else None for rows in metrics],
        "over training": [[row["test_acc"] for row in rows] for rows in metrics],
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
    if picked and st.toggle("Delete…", key="runs_deleting"):
        st.text("To delete:\n" + "\n".join(f"{run_title(run)} ({run.path})" for run in picked))
        if st.button(f"Delete {len(picked)} of {len(runs)} runs for good", key="runs_delete", icon=":material/delete:"):
            for run in picked:
                run.delete()
            st.rerun()
