"""What the Runs page does with all selected runs: favorites, tags, clones, and deletion."""

from collections.abc import Sequence

import streamlit as st

from minivit.runs import Run, annotate, list_runs, read_annotations, run_title, unused_seeds
from pages.parts.runs.status import create_and_start
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors

MAX_CLONES = 10  # each waits in a process of its own


def run_actions(runs: Sequence[Run], num_runs: int) -> None:
    """Buttons for the selected runs, of `num_runs` in all."""
    if notice := st.session_state.pop("runs_notice", ""):  # from before the rerun that lists the new runs
        st.toast(notice)
    if not runs or not may_change():
        return
    with st.container(horizontal=True, gap="small"):
        _favorites(runs)
        with st.popover("Tags", icon=":material/sell:"), show_errors():
            _tags(runs)
        with st.popover("Clone", icon=":material/content_copy:"), show_errors():
            _clone(runs)
        with st.popover("Delete…", icon=":material/delete:"), show_errors():
            _delete(runs, num_runs)


def _favorites(runs: Sequence[Run]) -> None:
    """One click makes all of them favorites, or none if they all are."""
    are_favorites = all(read_annotations(run).favorite for run in runs)
    label = "Remove from favorites" if are_favorites else "Add to favorites"
    if st.button(label, key="runs_favorite", icon=":material/star:"):
        for run in runs:
            annotate(run, favorite=not are_favorites)
        st.rerun()


def _tags(runs: Sequence[Run]) -> None:
    known = sorted({tag for run in list_runs() for tag in read_annotations(run).tags})
    st.multiselect(
        "Tags",
        known,
        key="runs_tags",
        accept_new_options=True,
        placeholder="Choose or type tags",
        help="Search for #baseline to list the runs with the tag baseline.",
    )
    with st.container(horizontal=True):
        st.button(f"Add to {_count(runs)}", key="runs_add_tags", type="primary", on_click=_change_tags, args=(runs, 1))
        st.button(f"Remove from {_count(runs)}", key="runs_remove_tags", on_click=_change_tags, args=(runs, 0))


def _change_tags(runs: Sequence[Run], is_added: bool) -> None:
    """Adds the chosen tags to runs, or removes them, and clears the choice; a callback, so that the table shows it."""
    chosen = st.session_state["runs_tags"]
    st.session_state["runs_tags"] = []
    for run in runs:
        others = [tag for tag in read_annotations(run).tags if tag not in chosen]
        annotate(run, tags=[*others, *chosen] if is_added else others)


def _clone(runs: Sequence[Run]) -> None:
    trained_here = [run for run in runs if not run.config.imported]
    st.caption("Trains each run again with its settings and another seed. The new runs wait until the device is free.")
    reason = "Imported models cannot be trained." if not trained_here else ""
    if len(trained_here) > MAX_CLONES:
        reason = f"Select at most {MAX_CLONES} runs; a sweep trains more of them."
    label = f"Queue {_count(trained_here)}"
    if st.button(label, key="runs_clone", type="primary", disabled=bool(reason), help=reason or None):
        for run in trained_here:
            (seed,) = unused_seeds(run.config, 1)
            create_and_start(run.config.changed(seed=seed))
        st.session_state["runs_notice"] = f"Queued: {_count(trained_here)}."
        st.rerun()


def _delete(runs: Sequence[Run], num_runs: int) -> None:
    st.text("To delete:\n" + "\n".join(f"{run_title(run)} ({run.path})" for run in runs))
    label = f"Delete {len(runs)} of {num_runs} runs permanently"
    key = f"runs_delete_{hash(tuple(run.id for run in runs))}"  # a click deletes what its button said, or nothing
    if st.button(label, key=key, icon=":material/delete:"):
        for run in runs:
            run.delete()
        st.rerun()


def _count(runs: Sequence[Run]) -> str:
    return f"{len(runs)} run{'s' * (len(runs) != 1)}"
