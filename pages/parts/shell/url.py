"""State in the URL: run, epoch, image, layer, head and token, so that a link restores the view.

A page reads the values with `param` and writes them with `set_params`; the pickers do both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import streamlit as st

T = TypeVar("T")


# Names and values in links of earlier versions, by their current names
FORMER_NAMES = {"result": "answer"}
FORMER_VALUES = {
    "images": {
        "Right or wrong": "all",
        "Wrong before, right after": "corrected",
        "Right before, wrong after": "lost",
        "Wrong after": "incorrect",
    },
    "result": {"right": "correct", "wrong": "incorrect"},
    "order": {
        "number": "index",
        "surest": "most confident",
        "least sure": "least confident",
        "largest loss": "highest loss",
    },
}


def param(name: str) -> str:
    """The value of a name in the URL; empty if it has none."""
    text = st.query_params.get(name) or st.query_params.get(FORMER_NAMES.get(name, "")) or ""
    return FORMER_VALUES.get(name, {}).get(text, text)


def is_presented() -> bool:
    """Whether the URL selects presentation mode, for showing a page or the tour to a class: see `frame.py`."""
    return param("present") == "true"


def int_param(name: str, options: range | list[int], default: int) -> int:
    """An integer from the URL if it is one of `options`, else `default`."""
    text = param(name)
    return int(text) if len(text) < 10 and text.isdecimal() and int(text) in options else default


def patch_params(name: str, num_tokens: int) -> list[int]:
    """The tokens of the patches that the URL names, such as 'p3,p4': 1 is p0. CLS and unknown ones are left out."""
    indices = {token_name(index): index for index in range(1, num_tokens)}
    return sorted({indices[patch] for patch in param(name).split(",") if patch in indices})


def token_name(index: int) -> str:
    """A token as links name it: 'cls' or 'p30'."""
    return f"p{index - 1}" if index else "cls"


def set_params(**values: Any) -> None:
    """Writes values to the URL, as one entry of the browser's history; a list as 'a,b'. None and [] remove a name."""
    values = {name: ",".join(value) if isinstance(value, list) else value for name, value in values.items()}
    texts = {name: "" if value is None else str(value) for name, value in values.items()}
    changed = {name: text for name, text in texts.items() if text != param(name)}
    if changed:
        st.query_params.update({name: text or [] for name, text in changed.items()})  # [] leaves out the name


def param_button(label: str, key: str, params: Mapping[str, Any], **how: Any) -> None:
    """A button that writes values to the URL."""
    st.button(label, key=key, on_click=set_params, kwargs=dict(params), **how)


def bind_to_url(
    name: str, value: T, widget: Callable[..., T], *args: Any, clears: Sequence[str] = (), **options: Any
) -> T:
    """The value of `widget(*args, **options)`, whose state is the URL's `name`, which was read as `value`.

    A change of the widget writes to the URL and removes the names that it `clears`. A change of the URL, as by the
    browser's Back button, moves the widget.
    """
    key = f"{st.session_state['frame_page']}_{name}"  # each page has its own
    if st.session_state.get(key) != value:
        st.session_state[key] = value

    def write() -> None:
        set_params(**{name: st.session_state[key]}, **dict.fromkeys(clears))

    return widget(*args, key=key, on_change=write, **options)


def pick_param(name: str, default: T, widget: Callable[..., T], label: str, options: Sequence[Any], **how: Any) -> T:
    """One of the options: the URL's, else `default`, or what the user picks with the widget instead."""
    value: Any = param(name) if param(name) in options else default
    return bind_to_url(name, value, widget, label, options, **how)


def open_page(page: str, **params: Any) -> NoReturn:
    """Opens another page with these values in the URL; None is left out. Tour and presentation go along."""
    values = {**{name: param(name) or None for name in ("tour", "present")}, **params}
    st.switch_page(
        f"pages/{page}.py", query_params={name: str(value) for name, value in values.items() if value is not None}
    )
