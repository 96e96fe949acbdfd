"""Pictures that users add: each is in the browser session or in the run's folder, and links contain its id."""

from contextlib import suppress
from typing import NamedTuple

import streamlit as st
from torch import Tensor

from minivit.data.decode import decode_picture, image_format
from minivit.errors import DataError
from minivit.runs import Run
from minivit.runs.pictures import saved_pictures
from pages.parts.shell.memoize import memoize


class Picture(NamedTuple):
    """One picture, as the file that the user added."""

    name: str
    content: bytes


def session_pictures() -> dict[str, Picture]:
    """The pictures of this session by their ids, in the order in which they were added."""
    return st.session_state.setdefault("own_pictures", {})


def all_pictures(run: Run) -> dict[str, Picture]:
    """The session's pictures by their ids, then those in the run's folder."""
    pictures = dict(session_pictures())
    for picture, path in saved_pictures(run).items():
        with suppress(OSError):  # removed in the meantime, or not readable
            pictures.setdefault(picture, Picture(path.name, path.read_bytes()))
    return pictures


@memoize(key=lambda run, picture: (image_format(run.config), picture))
def pixels(run: Run, picture: str) -> Tensor:
    """The picture as the run's model sees it, uint8 (1, C, H, W)."""
    pictures = all_pictures(run)
    if picture not in pictures:
        raise DataError("This picture is no longer in the browser session or in the run's folder. Add it again.")
    return decode_picture(pictures[picture].content, pictures[picture].name, image_format(run.config))
