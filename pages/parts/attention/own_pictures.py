"""The user's own pictures: add, pick, save and remove them."""

from pathlib import Path

import numpy as np
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from minivit.data.decode import SUFFIXES, decode_picture, image_format
from minivit.runs import Run
from minivit.runs.pictures import picture_id, remove_picture, save_picture, saved_pictures
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors
from pages.parts.shell.pictures import Picture, all_pictures, pixels, session_pictures
from pages.parts.shell.url import param, param_button, set_params


def pick_picture(run: Run) -> str | None:
    """Widgets that add and pick pictures; returns the id of the URL's picture, None for a test image."""
    is_open = param("own") == "true"  # in the link on Home
    with st.expander("Try your own image", is_open, icon=":material/add_photo_alternate:", key="attention_own_open"):
        if may_change():
            _upload(run)
        pictures = all_pictures(run)
        current = param("picture") if param("picture") in pictures else None
        if pictures:
            _gallery(run, pictures, current)
    if param("picture") and not current:
        st.info("The picture in this link was not saved in the run's folder. Add it again to see it.")
    return current


def _upload(run: Run) -> None:
    """The uploader, to which `paste.js` passes pictures, and the camera; a new picture is shown immediately."""
    uploads = st.file_uploader(
        "Drop pictures anywhere on this page, paste one, or choose files",
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        accept_multiple_files=True,
        key="attention_uploads",
    )
    photo = st.camera_input("Camera", key="attention_camera") if st.toggle("Use the camera") else None
    new_ids = [picture for file in [*uploads, photo] if file and (picture := _add(run, file))]
    if new_ids:
        set_params(picture=new_ids[-1])
        st.rerun()


def _add(run: Run, file: UploadedFile) -> str | None:
    """The id of the picture in a file if it is readable and was uploaded just now, else None."""
    content = file.getvalue()
    handled = st.session_state.setdefault("handled_uploads", set())
    if file.file_id in handled:
        return None
    with show_errors():
        decode_picture(content, file.name, image_format(run.config))
        handled.add(file.file_id)
        picture = picture_id(content)
        session_pictures()[picture] = Picture(file.name, content)
        return picture
    return None


def _gallery(run: Run, pictures: dict[str, Picture], current: str | None) -> None:
    """The pictures to pick from; those that cannot be decoded are named instead."""
    decoded = {}
    for picture in pictures:
        with show_errors():
            decoded[picture] = pixels(run, picture).numpy()
    if not decoded:
        return
    ids = list(decoded)
    images = np.concatenate(list(decoded.values()))
    titles = [GalleryItem(index, pictures[picture].name) for index, picture in enumerate(ids)]
    selected = ids.index(current) if current in ids else None
    click = gallery(images, titles, key="attention_pictures", label="Your pictures", selected=selected)
    if click is not None:
        set_params(picture=ids[click])
        st.rerun()


def save_or_remove(run: Run, current: str) -> None:
    """Buttons that save or remove the user's picture, or return to the test images."""
    if not may_change():
        return
    picture = all_pictures(run)[current]
    if (
        not run.is_example
        and current not in saved_pictures(run)
        and st.button("Save in the run's folder", help="Links to this picture then keep working, in any browser.")
    ):
        with show_errors():
            save_picture(run, picture.content, Path(picture.name).suffix)
            st.rerun()
    if st.button("Remove this picture"):
        session_pictures().pop(current, None)
        remove_picture(run, current)
        set_params(picture=None)
        st.rerun()
    param_button("Back to the test images", "attention_back", {"picture": None})
