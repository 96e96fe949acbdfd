"""What is done with runs on the Runs page: compared, named, taken along, deleted, and let in from elsewhere."""

from collections.abc import Callable, Sequence

import streamlit as st

from minivit.errors import ConfigError
from minivit.export import export, timm_arguments
from minivit.figures import EpochCurve, accuracy_curves
from minivit.imports import NORMALIZATIONS, ImportOptions, import_model
from minivit.runs import Run
from minivit.runs.archive import pack, unpack
from pages.parts.shell.frame import show_errors
from pages.parts.shell.url import go
from pages.parts.shell.wording import escape_markdown, run_title

NORMALIZATION_TITLES = {
    "half": "0.5 and 0.5, timm's own ViTs", "imagenet": "ImageNet's mean and deviation", "none": "none",
}  # fmt: skip


def compare_curves(runs: Sequence[Run]) -> None:
    """Test accuracy by epoch of several runs on one chart."""
    curves = {}
    for run in runs:
        rows = run.metrics()
        if rows:
            title = run_title(run)
            label = title if title not in curves else f"{title}, {run.id}"
            curves[label] = [EpochCurve(label, [row["epoch"] for row in rows], [row["test_acc"] for row in rows])]
    if curves:
        st.plotly_chart(accuracy_curves(curves), key="runs_curves")


def rename_run(run: Run) -> None:
    """A name to be shown by; links and the folder stay."""
    row = st.form(f"runs_name_of_{run.id}", border=False).container(horizontal=True, vertical_alignment="bottom")
    name = row.text_input("Name", run.name, max_chars=80, placeholder=run_title(run))
    asked = row.form_submit_button("Rename")
    if asked:
        run.rename(name)
        st.rerun()


def take_run_along(run: Run) -> None:
    """Files of the whole run and of its newest model; each is made when it is clicked."""
    st.markdown("**Take it along**")
    if run.state.active or not run.epochs():
        st.caption("Once this run has weights and no worker is training it.")
        return
    with st.container(horizontal=True):
        _file("Run as .zip", lambda: pack(run), f"{run.id}.zip")
        _file("Report (one HTML page)", lambda: export(run, "report"), f"{run.id}.html")
        _file("Model as ONNX, with attention", lambda: export(run, "onnx"), f"{run.id}.onnx")
        try:
            timm_arguments(run.config.model)
        except ConfigError as error:
            st.caption(escape_markdown(str(error)))
        else:
            _file("Model for timm", lambda: export(run, "timm"), f"{run.id}.safetensors")


def delete_runs(picked: Sequence[Run], num_runs: int) -> None:
    """Deletes for good, after the names were shown."""
    if picked and st.toggle("Delete…", key="runs_deleting"):
        st.text("To delete:\n" + "\n".join(f"{run_title(run)} ({run.path})" for run in picked))
        if st.button(f"Delete {len(picked)} of {num_runs} runs for good", key="runs_delete", icon=":material/delete:"):
            for run in picked:
                run.delete()
            st.rerun()


def let_in() -> None:
    """Forms for a run that somebody sent, and for a model of timm's."""
    with st.expander("Add a run from a .zip"), show_errors(), st.form("runs_unpack", border=False):
        sent = st.file_uploader("A run that was taken along", type="zip")
        if st.form_submit_button("Add this run") and sent:
            go("predictions", run=unpack(sent).id)
    with st.expander("Open a model of timm's"), show_errors(), st.form("runs_foreign", border=False):
        st.caption(
            "A ViT classifier of timm's vision_transformer family. Its shape is read off the weights; nothing in the "
            "file is executed. Epoch 0 of the run is the same architecture with random weights."
        )
        file = st.text_input("File of weights", placeholder="/path/to/vit.safetensors")
        folder = st.text_input("Folder of images", placeholder="/path/to/images, with a folder per class")
        names = st.text_input("Class names (optional)", placeholder="/path/to/names.txt, one a line")
        left, middle, right = st.columns(3)
        heads = left.number_input("Heads", 0, 64, 0, help="They cannot be read off; 0 takes heads of 64 numbers each.")
        limit = middle.number_input("Images per class", 0, 1_000_000, 20, help="0 takes all.")
        normalization = right.selectbox("Normalised by", NORMALIZATIONS, format_func=NORMALIZATION_TITLES.__getitem__)
        if st.form_submit_button("Open this model"):
            options = ImportOptions(heads, normalization, _path(names) or None, limit)
            go("attention", run=import_model(_path(file), _path(folder), options).id)


def _path(typed: str) -> str:
    return typed.strip(" \"'")


def _file(label: str, content: Callable[[], str | bytes], name: str) -> None:
    st.download_button(
        label, content, file_name=name, on_click="ignore", icon=":material/download:", key=f"runs_{label}_{name}"
    )
