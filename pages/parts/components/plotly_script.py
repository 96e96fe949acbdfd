"""Plotly's script, served by this server and not from a CDN."""

from functools import cache
from pathlib import Path

import plotly

from minivit.files import atomic_write

STATIC = Path(__file__).parents[3] / "static"  # Streamlit serves it: it is beside dashboard.py


@cache
def plotly_script(static: Path = STATIC) -> str:
    """The path under which this server serves plotly.min.js, copied from the installed package if missing.

    Copied, because Streamlit does not serve links; with its version in the name, so that browsers can cache it.
    """
    target = static / f"plotly-{plotly.__version__}.min.js"
    if not target.exists():
        static.mkdir(exist_ok=True)
        source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        with atomic_write(target) as file:
            file.write(source.read_bytes())
    return f"/app/static/{target.name}"
