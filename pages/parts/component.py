"""Registers the browser components: `<name>/<name>.js` and `.css`, with `shared.js` and `shared.css` before them."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

PARTS = Path(__file__).parent


@cache
def component(name: str, *, isolate_styles: bool = True) -> Any:
    """The mounting command of the component in `pages/parts/<name>/`."""
    return st.components.v2.component(
        f"minivit_{name}",
        html=f'<div class="{name}"></div>',
        css="\n".join((PARTS / path).read_text() for path in ("shared.css", f"{name}/{name}.css")),
        js="\n".join((PARTS / path).read_text() for path in ("shared.js", f"{name}/{name}.js")),
        isolate_styles=isolate_styles,
    )


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON can carry it: its dtype, shape and base64 bytes; `unpack` in `shared.js` reads it."""
    array = np.ascontiguousarray(array)
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(array.tobytes()).decode(),
    }
