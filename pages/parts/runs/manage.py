"""What the Runs page does with selected runs: compare, rename, export and delete."""

from collections.abc import Callable, Sequence

import streamlit as st

from minivit.errors import ConfigError
from minivit.export import export, timm_arguments
from minivit.figures import EpochCurve, accuracy_curves
from minivit.runs import Run, delete_unreadable, find_damage, unreadable_runs
from minivit.runs.archive import pack
from pages.parts.shell.access import may_change
from pages.parts.shell.wording import escape_markdown, run_title


def compare_curves(runs: Sequence[Run]) -> None:
    """Test accuracy by epoch of several runs on one chart."""
    curves: dict[str, list[EpochCurve]] = {}
    for run in runs:
        rows = run.metrics()
        if rows:
            title = run_title(run)
            label = title if title not in curves else f"{title}, {run.id}"
            curves[label] = [EpochCurve(label, [row["epoch"] for row in rows], [row["test_acc"] for row in rows])]
    if curves:
        st.plotly_chart(accuracy_curves(curves), key="runs_curves")


def rename_run(run: Run) -> None:
    """A form for the title of a run; links and the folder are unchanged."""
    if not may_change():
        return
    form = st.form(f"runs_name_of_{run.id}", border=False).container(horizontal=True, vertical_alignment="bottom")
    name = form.text_input("Name", run.name, max_chars=80, placeholder=run_title(run))
    if form.form_submit_button("Rename"):
        run.rename(name)
        st.rerun()


def export_run(run: Run) -> None:
    """Downloads of the run and of its newest model; a file is made on click."""
    st.markdown("**Export**")
    if run.state.active or not run.epochs():
        st.caption("Available once this run has weights and no worker is training it.")
        return
    with st.container(horizontal=True):
        _download("Run as .zip", lambda: pack(run), f"{run.id}.zip")
        _download("Report (one HTML page)", lambda: export(run, "report"), f"{run.id}.html")
        _download("Model as ONNX, with attention", lambda: export(run, "onnx"), f"{run.id}.onnx")
        try:
            timm_arguments(run.config.model)
        except ConfigError as error:
            st.caption(escape_markdown(str(error)))
        else:
            _download("Model for timm", lambda: export(run, "timm"), f"{run.id}.safetensors")
            _download("Hugging Face folder (.zip)", lambda: export(run, "huggingface"), f"{run.id}-huggingface.zip")


def delete_runs(selected: Sequence[Run], num_runs: int) -> None:
    """Deletes runs permanently, after listing them."""
    if selected and may_change() and st.toggle("Delete…", key="runs_deleting"):
        st.text("To delete:\n" + "\n".join(f"{run_title(run)} ({run.path})" for run in selected))
        if st.button(
            f"Delete {len(selected)} of {num_runs} runs permanently", key="runs_delete", icon=":material/delete:"
        ):
            for run in selected:
                run.delete()
            st.rerun()


def damaged_runs(runs: Sequence[Run]) -> None:
    """Damaged parts of runs, and unreadable run folders with buttons that delete them."""
    for run in runs:
        if damage := find_damage(run):
            st.caption(escape_markdown(f"{run_title(run)} ({run.id}): {' '.join(damage)}"))
    unreadable = unreadable_runs()
    if not unreadable:
        return
    with st.expander(f"Unreadable runs ({len(unreadable)})"):
        for name, reason in unreadable.items():
            st.text(f"{name}: {reason}")
            if may_change() and st.button(
                "Delete permanently", key=f"runs_unreadable_{name}", icon=":material/delete:"
            ):
                delete_unreadable(name)
                st.rerun()


def _download(label: str, content: Callable[[], str | bytes], name: str) -> None:
    st.download_button(
        label, content, file_name=name, on_click="ignore", icon=":material/download:", key=f"runs_{label}_{name}"
    )
