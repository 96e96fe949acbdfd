"""Uploads of the user's own photos: a .zip of class folders, or files and camera images class by class."""

import streamlit as st

from minivit.data.decode import SUFFIXES
from minivit.data.uploads import (
    MAX_BYTES,
    MAX_FILE_BYTES,
    MAX_FILES,
    UploadReport,
    add_to_upload,
    delete_upload,
    list_uploads,
    unpack_upload,
)
from pages.parts.settings.dataset import UPLOADED, choose_dataset
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.wording import escape_markdown

MAX_ZIP_MB = 1024  # as the server keeps it in memory
REPORT = "data_upload_report"  # in the session state: the report of the last upload
NUM_ADDED = "data_num_added"  # in the session state: the next files have another uploader; set and class stay


def uploads() -> None:
    """Forms that create, extend and delete uploaded sets; a set is selected once it can be trained on."""
    if not may_change():
        return
    with st.expander("Upload your photos", icon=":material/upload:", key="data_uploads"):
        from_zip, by_class, manage = st.tabs(["A .zip of class folders", "Class by class", "Uploaded sets"])
        with from_zip, show_errors():
            _zip_form()
        with by_class, show_errors():
            _class_form()
        with manage, show_errors():
            _manage()
    if report := st.session_state.pop(REPORT, None):
        _show_report(*report)


def _zip_form() -> None:
    with st.form("data_upload_zip", border=False, clear_on_submit=True):
        file = st.file_uploader(
            f"One folder of images per class. At most {MAX_FILES:,} images of {MAX_FILE_BYTES // 2**20} MB, "
            f"{MAX_BYTES // 2**30} GB in total.",
            type="zip",
            max_upload_size=MAX_ZIP_MB,
            key="data_zip",
        )
        name = st.text_input("Name of the set", key="data_zip_name")
        if st.form_submit_button("Unpack") and file:
            name = name or file.name.removesuffix(".zip")
            with cache.progress_bar("Unpacking") as report:
                result = unpack_upload(file, name, report)
            _finish(name, result)


def _class_form() -> None:
    number = st.session_state.setdefault(NUM_ADDED, 0)
    with st.form("data_upload_class", border=False):
        names = st.columns(2)
        name = names[0].text_input("Name of the set", key="data_class_set", help="A new set, or one to add images to.")
        class_name = names[1].text_input("Class", key="data_class_name")
        files = st.file_uploader(
            "Images of this class",
            type=[suffix.removeprefix(".") for suffix in SUFFIXES],
            accept_multiple_files=True,
            max_upload_size=MAX_FILE_BYTES // 2**20,
            key=f"data_class_files_{number}",
        )
        uses_camera = st.session_state.get("data_camera")
        photo = st.camera_input("Camera", key=f"data_class_camera_{number}") if uses_camera else None
        if st.form_submit_button("Add these images"):
            images = [*files, photo] if photo else files
            st.session_state[NUM_ADDED] += 1
            _finish(name, add_to_upload(name, class_name, [(image.name, image.getvalue()) for image in images]))
    st.toggle("Use the camera", key="data_camera")


def _manage() -> None:
    sets = list_uploads()
    if not sets:
        st.caption("There are no uploaded sets yet.")
        return
    name = st.selectbox("Set", list(sets), key="data_upload_set")
    with st.container(horizontal=True):
        st.button("Use this set", on_click=choose_dataset, args=(UPLOADED + name,))
        if st.button("Delete this set", help="Runs that were trained on it are kept, but their images are gone."):
            delete_upload(name)
            choose_dataset(None)
            st.rerun()
    classes = sorted(path.name for path in sets[name].iterdir() if path.is_dir())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        class_name = st.selectbox("Class of this set", classes, key="data_upload_delete_class")
        if st.button("Delete this class", disabled=not class_name):
            delete_upload(name, class_name)
            st.rerun()


def _finish(name: str, report: UploadReport) -> None:
    st.session_state[REPORT] = (name.strip(), report)
    choose_dataset(UPLOADED + name.strip())
    st.rerun()


def _show_report(name: str, report: UploadReport) -> None:
    st.success(escape_markdown(f"{report.num_added:,} images were added to {name}."))
    if report.left_out:
        st.text("Left out:")
        st.code("\n".join(report.left_out), language=None)
