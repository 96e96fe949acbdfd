"""The newest runs as cards; a sweep is one card."""

import streamlit as st

from minivit.runs import Run, group_by_sweep, list_runs, run_title, summarize
from minivit.runs.summary import best_run, most_urgent
from pages.parts.runs.status import phase_badge, run_links
from pages.parts.shell.wording import sweep_title

NUM_CARDS = 12


def run_cards() -> None:
    """The newest runs, three cards in a row, or the next step if there are none."""
    runs = list_runs()
    if not runs:
        st.markdown("None yet. The button above starts one; **Train** lets you choose classes and settings first.")
    groups = group_by_sweep(runs)
    for start in range(0, len(groups[:NUM_CARDS]), 3):
        for column, group in zip(st.columns(3), groups[start : start + 3], strict=False):
            with column:
                _card(group)
    if len(groups) > NUM_CARDS:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")


def _card(runs: list[Run]) -> None:
    """State, accuracy and links of a run, or of a sweep with its best accuracy."""
    sweep, best, state = runs[0].sweep, best_run(runs), most_urgent(runs)
    accuracies = summarize(best).accuracies
    with st.container(border=True):
        st.text(sweep_title(sweep) if sweep else run_title(best))
        with st.container(horizontal=True, vertical_alignment="center"):
            phase_badge(state.phase)
            st.caption(f"{len(runs)} runs" if sweep else best.config.epoch_title(state.epoch))
        st.metric(
            "best test accuracy" if sweep else "test accuracy",
            f"{accuracies[-1]:.1%}" if accuracies else "–",
            chart_data=accuracies if len(accuracies) > 1 and not sweep else None,
        )
        if not sweep:
            run_links(best)
            return
        with st.container(horizontal=True, gap="small"):
            st.page_link("pages/sweeps.py", label="Sweep", query_params={"sweep": sweep})
            st.page_link("pages/runs.py", label="Runs", query_params={"sweep": sweep})
            st.page_link("pages/predictions.py", label="Best run", query_params={"run": best.id})
