"""Sweeps: train many small models at once, as a grid or a search, and see which settings lead where."""

import streamlit as st

from minivit.machine import num_slots, pick_device
from pages.parts.settings.form import choose_data, choose_preset, choose_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import fragment, frame, show_errors, side_by_side
from pages.parts.sweeps.sweeps import choose_sweep, live_sweep, pick_sweep, start_sweep
from pages.parts.train.time_estimate import size_and_time

with frame(
    "Sweeps", "Train many small models at once, as a grid or a search, and see which settings lead to what accuracy."
):
    form, live = side_by_side(pictures=2.6)
    with form, show_errors():
        base = choose_data(choose_preset())
        size_and_start = st.container()
        with show_errors(size_and_start):
            with st.expander("The same in all trials"):
                base = choose_settings(base)
            config = choose_sweep(base)
            storage = st.text_input(
                "Share the study at", key="sweeps_storage", placeholder="only on this machine",
                help="A URL that other machines reach too: journal:///FOLDER/FILE on a shared disk, or a database.",
            )  # fmt: skip
            train_set, test_set = cache.split(base)
            workers = config.workers or num_slots(pick_device(base.device))
            with size_and_start:
                size = (
                    f"**{config.num_trials:,}** models of {base.epochs:,} epochs, **{workers}** side by side · at most"
                )
                size_and_time(size, base, len(train_set), len(test_set), config.num_trials / workers)
            if size_and_start.button("Start this sweep", type="primary", icon=":material/play_arrow:", width="stretch"):
                start_sweep(config, storage)
    with live, show_errors():
        sweep = pick_sweep()
        fragment(lambda: live_sweep(sweep), every=2 if sweep.active else None)
