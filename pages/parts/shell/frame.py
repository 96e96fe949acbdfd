"""The frame of every page: title, sidebar, layout, and display of user errors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.errors import MiniViTError
from pages.parts.shell.access import ask_for_login, requires_login
from pages.parts.shell.glossary import SEEING, glossary_button
from pages.parts.shell.present import head, is_presented
from pages.parts.shell.url import param
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
    head(title)
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
        (container or st).error(escape_markdown(str(error)), icon=":material/error:")


def fragment(draw: Callable[[], None], *, every: float | None = None) -> None:
    """Runs `draw` as a fragment of the page, repeated every `every` seconds."""

    def draw_with_errors() -> None:
        with show_errors():
            draw()

    st.fragment(draw_with_errors, run_every=every)()


def download(label: str, make: Callable[[], str | bytes], file_name: str) -> None:
    """A button that makes a file when it is clicked, and downloads it."""
    key = f"download_{file_name}_{label}"
    st.download_button(label, make, file_name, on_click="ignore", icon=":material/download:", key=key)
