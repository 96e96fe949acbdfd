"""A folder browser: step by step within the allowed folders, with the images of each class before any is decoded."""

from contextlib import suppress
from pathlib import Path

import streamlit as st

from minivit.data.folder import count_images
from minivit.errors import AccessError
from minivit.files import is_text
from pages.parts.shell.access import allowed_path, browsable_roots
from pages.parts.shell.frame import show_errors
from pages.parts.shell.wording import escape_markdown

BROWSED = "settings_browsed"  # in the session: the folder that is open
MAX_LISTED = 20


def browse_folders(target: str) -> None:
    """The browser, closed at first; the chosen folder goes to the text field with the key `target`."""
    icon = ":material/folder_open:"
    with st.expander("Browse folders", icon=icon, key="settings_browse", on_change="rerun") as section:
        if section.open:
            with show_errors():
                _browse(target)


def _browse(target: str) -> None:
    roots = browsable_roots()
    state = st.session_state
    folder = state.get(BROWSED, roots[0])
    key = f"settings_browse_{folder}"  # each step has a select box of its own
    titles = {root: str(root) for root in roots if root != folder}
    if folder not in roots:
        titles[folder.parent] = "↑ one folder up"
    titles |= {child: child.name for child in _children(folder)}

    def step() -> None:
        state[BROWSED] = state[key]

    st.caption(escape_markdown(str(folder)))
    st.selectbox("Open a folder", titles, None, titles.__getitem__, key=key, on_change=step, placeholder="Choose")
    counts = {name: count for name, count in count_images(folder).items() if count}
    listed = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:MAX_LISTED])
    more = ", …" if len(counts) > MAX_LISTED else ""
    st.text(f"{len(counts):,} folders with images: {listed}{more}" if counts else "No folders with images in here.")

    def use() -> None:
        state[target] = str(folder)

    few = len(counts) < 2
    help = "A classifier needs at least two class folders." if few else None
    st.button("Use this folder", key="settings_use_folder", on_click=use, disabled=few, help=help)


def _children(folder: Path) -> list[Path]:
    """The folders in `folder` that may be opened, by name."""
    children = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError, AccessError):  # a link may lead outside
                if path.is_dir() and not path.name.startswith(".") and is_text(path.name) and allowed_path(path):
                    children.append(path)
    return children
