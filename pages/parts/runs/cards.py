"""The newest runs as cards; a sweep is one card."""

import streamlit as st

from minivit.runs import Run, group_by_sweep, list_runs, run_title, summarize
from minivit.runs.summary import best_run, most_urgent
from pages.parts.runs.status import run_links, state_badge
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
                sweep_card(group) if group[0].sweep else run_card(group[0])
    if len(groups) > NUM_CARDS:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")


def run_card(run: Run) -> None:
    """State, accuracy with a sparkline, and links of one run."""
    state, accuracies = run.state, summarize(run).accuracies
    with st.container(border=True):
        st.text(run_title(run))
        with st.container(horizontal=True, vertical_alignment="center"):
            state_badge(state)
            st.caption(run.config.epoch_title(state.epoch))
        st.metric(
            "test accuracy",
            f"{accuracies[-1]:.1%}" if accuracies else "–",
            chart_data=accuracies if len(accuracies) > 1 else None,
        )
        run_links(run)


def sweep_card(runs: list[Run]) -> None:
    """The state of a sweep's runs, the best accuracy, and links."""
    best = best_run(runs)
    accuracy = summarize(best).test_acc
    with st.container(border=True):
        st.text(sweep_title(runs[0].sweep))
        with st.container(horizontal=True, vertical_alignment="center"):
            state_badge(most_urgent(runs))
            st.caption(f"{len(runs)} runs")
        st.metric("best test accuracy", "–" if accuracy is None else f"{accuracy:.1%}")
        with st.container(horizontal=True, gap="small"):
            st.page_link("pages/sweeps.py", label="Sweep", query_params={"sweep": runs[0].sweep})
            st.page_link("pages/runs.py", label="Runs", query_params={"sweep": runs[0].sweep})
            st.page_link("pages/predictions.py", label="Best run", query_params={"run": best.id})
