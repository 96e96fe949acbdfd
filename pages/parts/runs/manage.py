"""What the Runs page does with one selected run, and with runs that cannot be read."""

from collections.abc import Sequence

import streamlit as st

from minivit.errors import ConfigError
from minivit.export import export, timm_arguments
from minivit.runs import (
    Run,
    annotate,
    delete_unreadable,
    find_damage,
    read_annotations,
    run_title,
    unreadable_runs,
)
from minivit.runs.archive import pack
from minivit.runs.schema import MAX_NOTE_LENGTH
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import download
from pages.parts.shell.wording import escape_markdown


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


def damaged_runs(runs: Sequence[Run]) -> None:
    """Damaged parts of runs, and unreadable run folders with buttons that delete them."""
    for run in runs:
        if damage := find_damage(run):
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
