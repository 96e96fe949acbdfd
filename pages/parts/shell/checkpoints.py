"""A slider over all that was kept of a run: its epochs, and the steps of the first one."""

from contextlib import suppress
from typing import Any

import streamlit as st

from minivit.errors import RunError
from minivit.runs import Checkpoint, Run
from pages.parts.shell import cache
from pages.parts.shell.frame import bind_to_url, param, set_params


def pick_checkpoint(run: Run) -> Checkpoint:
    """One of the run's checkpoints: that of the URL, where `epoch` is '12', or '0.4' for a step; else the newest."""
    if not run.epochs():
        run.load_model()  # says why there is nothing to see
    kept = {str(checkpoint): checkpoint for checkpoint in run.checkpoints()}
    found = param("epoch") if param("epoch") in kept else list(kept)[-1]

    def slider(**how: Any) -> str:
        return st.select_slider("Checkpoint", list(kept), format_func=lambda name: kept[name].title, **how)

    if len(kept) > 1:
        found = bind_to_url("epoch", found, slider)
    set_params(epoch=found)
    return kept[found]


def newest_readable(run: Run) -> Checkpoint:
    """The last kept checkpoint whose weights can be read, from which scales are taken that all checkpoints share."""
    for checkpoint in reversed(run.checkpoints()):
        with suppress(RunError):  # told of where that checkpoint itself is shown
            cache.model_of(run, checkpoint)
            return checkpoint
    raise RunError(f"None of the weights of the run {run.id} can be read. Choose another run.")
