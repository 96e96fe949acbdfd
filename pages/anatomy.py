"""Anatomy: what the weights of a run are made of, at any checkpoint that was kept."""

import streamlit as st

from pages.parts.anatomy.decomposition import terms
from pages.parts.anatomy.filters import filters, positions
from pages.parts.anatomy.heads import distance_chart, effects
from pages.parts.anatomy.rollout_overlays import overlays
from pages.parts.shell.frame import fragment, frame
from pages.parts.shell.pickers import pick_checkpoint, pick_run

with frame(
    "Anatomy",
    "The weights at any checkpoint: what patches are matched with, where heads look, and what each is for.",
):
    which, when = st.columns(2, gap="large")
    with which:
        run = pick_run()
    with when:
        checkpoint = pick_checkpoint(run)
    left, right = st.columns(2, gap="large")
    with left:
        filters(run, checkpoint)
    with right:
        positions(run, checkpoint)
    overlays(run, checkpoint)
    fragment(lambda: terms(run, checkpoint))
    left, right = st.columns([1, 1.5], gap="large")
    with left:
        distance_chart(run, checkpoint)
    with right:
        fragment(lambda: effects(run, checkpoint))
