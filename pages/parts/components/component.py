"""Registers the browser components: the .js and .css files in `<name>/`, after the shared ones."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from minivit.figures import COLORMAPS, colormap

PARTS = Path(__file__).parent
# Until a component is drawn, `frame.css` hides what is below it.
MARK_DRAWN = """
export default (mount) => {
  try {
    return drawComponent(mount);
  } finally {
    (mount.parentElement.host ?? mount.parentElement).dataset.drawn = "";
  }
};
"""


@cache
def component(name: str, *also: str) -> Any:
    """The mount function of the component in `pages/parts/components/<name>/`.

    `also` are further files besides those that all have, such as another component: "maps/maps" is then a function.
    """
    return st.components.v2.component(
        f"minivit_{name}",
        html=f'<div class="{name}"></div>',
        css=joined(name, also, "css"),
        js=joined(name, also, "js").replace("export default", "const drawComponent =") + MARK_DRAWN,
    )


def joined(name: str, also: tuple[str, ...], kind: str) -> str:
    """The files of one component as a single one; functions may be in any order, constants may not."""
    everywhere = ("shared", "colors", "controls") if kind == "js" else ("shared",)  # in this order
    common = [PARTS / f"{file}.{kind}" for file in (*everywhere, *also)]
    own = sorted((PARTS / name).glob(f"*.{kind}"))
    shared = [path.read_text(encoding="utf-8").replace("export default function", "function") for path in common]
    tables = [_palettes()] if kind == "js" else []
    return "\n".join([*tables, *shared, *(path.read_text(encoding="utf-8") for path in own)])


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array for `unpack` in `shared.js`, with its bytes in base64."""
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": content}


@cache
def _palettes() -> str:
    """JavaScript with the tables of `COLORMAPS`, and `difference`: blue (less) over white (0) to red (more)."""
    tables = {name: packed(colormap(name)) for name in COLORMAPS} | {"difference": packed(colormap("RdBu")[::-1])}
    return f"const PALETTES = {json.dumps(tables)};"
