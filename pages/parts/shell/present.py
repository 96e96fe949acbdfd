"""Presentation mode, for showing a page or the tour to a class: large type, no navigation; and the link to a view.

`keys.js` lets the arrow keys click what is next and previous, and Escape the way out; `link.js` copies the link.
"""

import streamlit as st

from pages.parts.shell.url import param, set_params


def is_presented() -> bool:
    """Whether the URL selects presentation mode."""
    return param("present") == "true"


def head(title: str) -> None:
    """The page's title and, at the end of its line, buttons that copy its link and start or leave the presentation."""
    with st.container(key="frame_head", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(title, anchor=False)
        st.button("Copy link", key="frame_copy", icon=":material/link:", type="tertiary")
        if is_presented():
            st.button(
                "Leave presentation",
                key="frame_leave",
                icon=":material/close:",
                help="Escape leaves it too. ← and → go to the previous and next step or image.",
                on_click=set_params,
                kwargs={"present": None},
            )
        else:
            st.button(
                "Present",
                key="frame_present",
                icon=":material/slideshow:",
                type="tertiary",
                help="Large type without navigation, to show this page to a class.",
                on_click=set_params,
                kwargs={"present": "true"},
            )
