"""The frame of every page: title, sidebar, layout, presentation mode, and display of user errors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitDuplicateElementKey

from minivit.errors import MiniViTError
from pages.parts.shell import cache
from pages.parts.shell.access import ask_for_login, requires_login
from pages.parts.shell.glossary import SEEING, glossary_button
from pages.parts.shell.url import is_presented, param, param_button
from pages.parts.shell.wording import escape_markdown
from pages.parts.tour.bar import resume_link, tour_bar

SHELL = Path(__file__).parent
SIDEBAR_PX = 200
PAGES = {
    "dashboard.py": "Home",
    "pages/data.py": "Data",
    "pages/train.py": "Train",
    "pages/sweeps.py": "Sweeps",
    "pages/predictions.py": "Predictions",
    "pages/attention.py": "Attention",
    "pages/compare.py": "Compare",
    "pages/anatomy.py": "Anatomy",
    "pages/runs.py": "Runs",
}


@contextmanager
def frame(title: str, lead: str) -> Iterator[None]:
    """Title, one sentence on what the page shows, and links to all pages; shows user errors raised in the block."""
    st.set_page_config(
        page_title=title if title == "MiniViT" else f"{title} · MiniViT",
        page_icon=str(SHELL / "favicon.png"),
        layout="wide",
        initial_sidebar_state=SIDEBAR_PX,
    )
    st.session_state["frame_page"] = title
    ask_for_login()
    if not is_presented():
        _sidebar()
    _head(title)
    st.markdown(lead, help=SEEING.get(title))
    tour_bar(title)
    try:
        with show_errors():
            yield
    finally:
        st.container(key="frame_end").empty()  # tells the style sheet that the page is complete


def _sidebar() -> None:
    st.logo(str(SHELL / "logo.svg"), size="large")
    run = param("run")
    for path, name in PAGES.items():
        st.sidebar.page_link(path, label=name, icon="", query_params={"run": run} if run else None)
    with st.sidebar:
        resume_link()
        glossary_button()
        if requires_login():
            st.button("Log out", key="frame_logout", type="tertiary", on_click=st.logout)


def _head(title: str) -> None:
    """The title and, at the end of its line, buttons that copy the link and start or leave the presentation.

    `link.js` copies the link; `keys.js` lets the arrow keys click what is next and previous, and Escape the way out.
    """
    with st.container(key="frame_head", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(title, anchor=False)
        st.button("Copy link", key="frame_copy", icon=":material/link:", type="tertiary")
        if is_presented():
            text = "Escape leaves it too. ← and → go to the previous and next step or image."
            param_button("Leave presentation", "frame_leave", {"present": None}, icon=":material/close:", help=text)
        else:
            text = "Large type without navigation, to show this page to a class."
            how: dict[str, Any] = {"icon": ":material/slideshow:", "type": "tertiary", "help": text}
            param_button("Present", "frame_present", {"present": "true"}, **how)


def side_by_side(*, pictures: float) -> Sequence[DeltaGenerator]:
    """Two columns: controls, and `pictures` times as wide, what they control; on phones the pictures come first."""
    return st.container(key="pictures_first").columns([1, pictures], gap="large")


def controls_above() -> tuple[DeltaGenerator, DeltaGenerator]:
    """Two containers: controls, and below them what they control; on phones the pictures come first."""
    both = st.container(key="pictures_above")
    return both.container(), both.container()


class NextStep(Exception):
    """This part of the page needs user input first; the message says which."""


@contextmanager
def show_errors(container: DeltaGenerator | None = None) -> Iterator[None]:
    """Shows user errors raised in the block in `container`; other exceptions are bugs and propagate."""
    try:
        yield
    except NextStep as step:
        if str(step):
            (container or st).info(escape_markdown(str(step)))
    except MiniViTError as error:
        place = container or st.container()
        place.error(escape_markdown(str(error)), icon=":material/error:")
        if isinstance(error, cache.LoadingCanceled):
            with suppress(StreamlitDuplicateElementKey):  # one button is enough for several parts of a page
                place.button("Load the images", key="frame_load", on_click=cache.resume_loading)


def fragment(draw: Callable[[], object], *, every: float | None = None) -> None:
    """Runs `draw` as a fragment of the page, repeated every `every` seconds."""

    def draw_with_errors() -> None:
        with show_errors():
            draw()

    st.fragment(draw_with_errors, run_every=every)()


def download(label: str, make: Callable[[], str | bytes], file_name: str) -> None:
    """A button that makes a file when it is clicked, and downloads it."""
    key = f"download_{file_name}_{label}"
    st.download_button(label, make, file_name, on_click="ignore", icon=":material/download:", key=key)
