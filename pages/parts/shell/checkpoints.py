"""A slider over all that was kept of a run: its epochs, and the steps of the first one."""

from contextlib import suppress
from typing import Any

import streamlit as st

from minivit.errors import RunError
from minivit.runs import Moment, Run
from pages.parts.components.scrub import write_moment
from pages.parts.shell import cache
from pages.parts.shell.frame import linked, param, set_params


def pick_moment(run: Run) -> Moment:
    """One of the run's kept moments: that of the URL, where `epoch` is '12', or '0.4' for a step; else the newest."""
    if not run.epochs():
        run.load_model()  # says why there is nothing to see
    kept = {write_moment(moment): moment for moment in run.moments()}
    found = param("epoch") if param("epoch") in kept else list(kept)[-1]

    def slider(**how: Any) -> str:
        return st.select_slider(
            "Moment of training", list(kept), format_func=lambda name: moment_name(kept[name]), **how
        )

    if len(kept) > 1:
        found = linked("epoch", found, slider)
    set_params(epoch=found)
    return kept[found]


def newest_readable(run: Run) -> Moment:
    """The last kept moment whose weights can be read, from which scales are taken that all moments share."""
    for moment in reversed(run.moments()):
        with suppress(RunError):  # told of where that moment itself is shown
            cache.model_of(run, moment)
            return moment
    raise RunError(f"None of the weights of the run {run.id} can be read. Choose another run.")


def moment_name(moment: Moment) -> str:
    """A moment as people say it."""
    if moment == Moment(0):
        return "untrained"
    return f"epoch {moment.epoch}" + (f", step {moment.step}" if moment.step else "")
