"""State in the URL: run, epoch, image, layer, head and token, so that a link restores the view.

A page reads the values with `param` and writes them with `set_params`; the pickers do both.
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import streamlit as st

T = TypeVar("T")


# Names and values in links of earlier versions, by their current names
FORMER_NAMES = {"result": "answer"}
FORMER_VALUES = {
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


def int_param(name: str, options: range | list[int], default: int) -> int:
    """An integer from the URL if it is one of `options`, else `default`."""
    text = param(name)
    return int(text) if len(text) < 10 and text.isdecimal() and int(text) in options else default


def token_param(num_tokens: int) -> int:
    """The index of the URL's token, such as 'p30': 0 is CLS, 1 is p0. CLS if the URL has no valid token."""
    return patch_param("token", num_tokens, 0)


def patch_param(name: str, num_tokens: int, default: int) -> int:
    """The token of the patch that the URL names, such as 'p30': 1 is p0. `default` if it has no valid one."""
    return _patch_indices(num_tokens).get(param(name), default)


def masked_param(num_tokens: int) -> list[int]:
    """The indices of the URL's masked patches (`off`), such as 'p3,p4': 1 is p0. CLS is never masked."""
    indices = _patch_indices(num_tokens)
    return sorted({indices[name] for name in param("off").split(",") if name in indices})


def token_name(index: int) -> str:
    """A token as links name it: 'cls' or 'p30'."""
    return f"p{index - 1}" if index else "cls"


def _patch_indices(num_tokens: int) -> dict[str, int]:
    return {token_name(index): index for index in range(1, num_tokens)}


def set_params(**values: Any) -> None:
    """Writes values to the URL, as one entry of the browser's history; None removes a name."""
    texts: dict[str, str | list[str]] = {
        name: [] if value is None else str(value)  # no values: Streamlit leaves the name out
        for name, value in values.items()
        if param(name) != ("" if value is None else str(value))
    }
    if texts:
        st.query_params.update(texts)


def bind_to_url(name: str, value: T, widget: Callable[..., T], write: Callable[[T], Any] = str, **also: Any) -> T:
    """The value of a widget whose state is the URL's `name`, which was read as `value`.

    A change of the widget writes to the URL, together with `also`. A change of the URL, as by the browser's Back
    button, moves the widget.
    """
    key = f"{st.session_state['frame_page']}_{name}"  # each page has its own
    if st.session_state.get(key) != value:
        st.session_state[key] = value
    return widget(key=key, on_change=lambda: set_params(**{name: write(st.session_state[key])}, **also))


def open_page(page: str, **params: Any) -> NoReturn:
    """Opens another page with these values in the URL; None is left out. Tour and presentation go along."""
    values = {**{name: param(name) or None for name in ("tour", "present")}, **params}
    st.switch_page(
        f"pages/{page}.py", query_params={name: str(value) for name, value in values.items() if value is not None}
    )
