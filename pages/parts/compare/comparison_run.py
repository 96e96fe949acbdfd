"""A second run beside the first, on the same test images."""

from typing import Any

import streamlit as st

from minivit.runs import Run, find_run, list_runs
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep
from pages.parts.shell.url import bind_to_url, param
from pages.parts.shell.wording import run_options


def pick_second_run(run: Run) -> Run | None:
    """The second run of the URL, `run2`, if there is one; offers all others.

    Raises NextStep where it was trained on other images, RunError where it is not there.
    """
    others = {other.id: other for other in list_runs() if other.id != run.id}
    wanted = param("run2")
    found = wanted if wanted in others else None
    titles = run_options(list(others.values()), run.sweep, others[found].sweep if found else "")

    def picker(**how: Any) -> str | None:
        said = "Stands beside the first one, on the same images. Patch sizes and depths may differ."
        return st.selectbox("Second run", list(titles), None, titles.__getitem__, placeholder="none", help=said, **how)

    chosen = bind_to_url("run2", found, picker, lambda run_id: run_id)
    if chosen is None:
        if wanted and wanted != run.id:
            find_run(wanted)  # says that it is not there
        return None
    second = find_run(chosen)
    different = [name for name in cache.SAME_IMAGES if getattr(run.config, name) != getattr(second.config, name)]
    if different:
        values = " and ".join(repr(getattr(one.config, different[0])) for one in (run, second))
        raise NextStep(
            f"The two runs do not see the same test images: their {different[0].replace('_', ' ')} is {values}. "
            "Choose a second run of the same data set, classes and split, or none."
        )
    return second
