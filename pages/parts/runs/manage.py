"""What the Runs page does with selected runs: tags, clones and deletion; of one run also its settings and exports."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from minivit.config import preset, settings
from minivit.errors import ConfigError
from minivit.export import export, timm_arguments
from minivit.runs import (
    Run,
    annotate,
    delete_unreadable,
    find_damage,
    list_runs,
    read_annotations,
    run_title,
    unreadable_runs,
    unused_seeds,
)
from minivit.runs.archive import pack
from minivit.runs.schema import MAX_NOTE_LENGTH
from pages.parts.runs.status import check_can_train, create_and_start
from pages.parts.settings.form import start_from
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import download, show_errors
from pages.parts.shell.url import open_page
from pages.parts.shell.wording import escape_markdown

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
    tags = st.session_state["runs_tags"]
    st.session_state["runs_tags"] = []
    for run in runs:
        others = [tag for tag in read_annotations(run).tags if tag not in tags]
        annotate(run, tags=[*others, *tags] if is_added else others)


def _clone(runs: Sequence[Run]) -> None:
    trained_here = [run for run in runs if not run.config.imported]
    st.caption("Trains each run again with its settings and another seed. The new runs wait until the device is free.")
    reason = "Imported models cannot be trained." if not trained_here else ""
    if len(trained_here) > MAX_CLONES:
        reason = f"Select at most {MAX_CLONES} runs; a sweep trains more of them."
    label = f"Queue {_count(trained_here)}"
    if st.button(label, key="runs_clone", type="primary", disabled=bool(reason), help=reason or None):
        for run in trained_here:  # all of them before the first is queued
            check_can_train(run.config)
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


def describe_run(run: Run) -> None:
    """A form for the title of a run and a note on it; links and the folder are unchanged."""
    note = read_annotations(run).note
    if not may_change():
        st.text(note)
        return
    with st.form(f"runs_name_of_{run.id}", border=False):
        title, description = st.columns([1, 2])
        name = title.text_input("Name", run.name, max_chars=80, placeholder=run_title(run))
        text = description.text_area("Note", note, max_chars=MAX_NOTE_LENGTH, placeholder="What this run shows")
        if title.form_submit_button("Save name and note"):
            run.rename(name)
            annotate(run, note=text)
            st.rerun()


def export_run(run: Run) -> None:
    """Downloads of the run and of its newest model; a file is made on click."""
    st.markdown("**Export**")
    if run.state.active or not run.epochs():
        st.caption("Available once this run has weights and no worker is training it.")
        return
    with st.container(horizontal=True):
        download("Run as .zip", lambda: pack(run), f"{run.id}.zip")
        download("Report (one HTML page)", lambda: export(run, "report"), f"{run.id}.html")
        download("Model as ONNX, with attention", lambda: export(run, "onnx"), f"{run.id}.onnx")
        try:
            timm_arguments(run.config.model)
        except ConfigError as error:
            st.caption(escape_markdown(str(error)))
        else:
            download("Model for timm", lambda: export(run, "timm"), f"{run.id}.safetensors")
            download("Hugging Face folder (.zip)", lambda: export(run, "huggingface"), f"{run.id}-huggingface.zip")


def damaged_runs(runs: Sequence[Run], selected: Sequence[Run] = ()) -> None:
    """Damaged parts of runs, and unreadable run folders with buttons that delete them."""
    for run in runs:
        if damage := find_damage(run, weights=[run] == selected):
            st.caption(escape_markdown(f"{run_title(run)} ({run.id}): {' '.join(damage)}"))
    unreadable = unreadable_runs()
    if not unreadable:
        return
    with st.expander(f"Unreadable runs ({len(unreadable)})", key="runs_unreadable"):
        for name, reason in unreadable.items():
            st.text(f"{name}: {reason}")
            if may_change() and st.button(
                "Delete permanently", key=f"runs_unreadable_{name}", icon=":material/delete:"
            ):
                delete_unreadable(name)
                st.rerun()


def run_settings(run: Run, title: str = "Settings") -> None:
    """All settings of a run beside the article's; those that differ come first."""
    with st.expander(title):
        if may_change() and not run.config.imported:
            _copy_buttons(run)
        article = preset("article")
        derived = {"drawing": run.config.dataset == "shapes", "lr_changes": bool(run.config.lr_changes)}
        rows = [
            {
                "setting": setting.title,
                "name": setting.name,
                "value": _text(setting.value(run.config)),
                "in the article": _text(setting.value(article)),
            }
            for setting in (*settings(), *settings("derived"))
            if derived.get(setting.name, setting.group != "derived")
        ]
        st.dataframe(sorted(rows, key=lambda row: row["value"] == row["in the article"]), hide_index=True)


def _copy_buttons(run: Run) -> None:
    """Two buttons that open the Train form with the settings of a run, one of them also with its weights."""
    with st.container(horizontal=True):
        for label, icon, has_weights in (
            ("Copy to the Train form", "content_copy", False),
            ("Start from its weights", "line_start_circle", True),
        ):
            how: dict[str, Any] = {"icon": f":material/{icon}:", "disabled": has_weights and not run.epochs()}
            how |= {"on_click": start_from, "args": (run,), "kwargs": {"has_weights": has_weights}}
            if st.button(label, key=f"runs_{icon}_{run.id}", **how):
                open_page("train", run=run.id)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
