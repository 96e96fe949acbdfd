"""Train: choose settings, start, and watch the curves and the attention grow."""

import streamlit as st

from minivit.model import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.form import choose_data, choose_preset, choose_settings
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, show_errors, side_by_side
from pages.parts.train.live import live_run, shown_run
from pages.parts.train.time_estimate import size_and_time

with frame(
    "Train", "Choose images and settings, start, and watch the model learn; training continues if you close this page."
):
    form, live = side_by_side(pictures=2.6)
    with form, show_errors():
        base = choose_data(choose_preset())
        size_and_start = st.container()
        with show_errors(size_and_start):
            config = choose_settings(base)
            train_set, test_set = cache.split(config)
            with size_and_start:
                size = f"**{num_parameters(config.model):,}** parameters · **{len(train_set):,}** images to train on ·"
                size_and_time(size, config, len(train_set), len(test_set))
            if size_and_start.button("Start training", type="primary", icon=":material/play_arrow:", width="stretch"):
                start_run(config)
    with live, show_errors():
        live_run(shown_run())
