"""Anatomy: the weights of a run at any saved checkpoint."""

import streamlit as st

from pages.parts.anatomy.decomposition import decomposition
from pages.parts.anatomy.filters import filters, positions
from pages.parts.anatomy.heads import distance_chart, heads
from pages.parts.anatomy.rollout_overlays import overlays
from pages.parts.shell.frame import fragment, frame
from pages.parts.shell.pickers import pick_checkpoint, pick_run

with frame("Anatomy", "The weights at any checkpoint: patch filters, positions, and what each head attends to."):
    run_column, checkpoint_column = st.columns(2, gap="large")
    with run_column:
        run = pick_run()
    with checkpoint_column:
        checkpoint = pick_checkpoint(run)
    left, right = st.columns(2, gap="large")
    with left:
        filters(run, checkpoint)
    with right:
        positions(run, checkpoint)
    overlays(run, checkpoint)
    fragment(lambda: decomposition(run, checkpoint))
    left, right = st.columns([1, 1.5], gap="large")
    with left:
        distance_chart(run, checkpoint)
    with right:
        fragment(lambda: heads(run, checkpoint))
