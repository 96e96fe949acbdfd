"""Anatomy: what the weights of a run are made of, at any moment that was kept."""

import streamlit as st

from pages.parts.anatomy.decomposition import terms
from pages.parts.anatomy.filters import filters, positions
from pages.parts.anatomy.heads import distance_chart, effects
from pages.parts.anatomy.rollout_overlays import overlays
from pages.parts.shell.checkpoints import pick_moment
from pages.parts.shell.frame import fragment, frame, pick_run

with frame(
    "Anatomy",
    "The weights at any moment of training: what patches are matched with, where heads look, and what each is for.",
):
    which, when = st.columns(2, gap="large")
    with which:
        run = pick_run()
    with when:
        moment = pick_moment(run)
    left, right = st.columns(2, gap="large")
    with left:
        filters(run, moment)
    with right:
        positions(run, moment)
    overlays(run, moment)
    fragment(lambda: terms(run, moment))
    left, right = st.columns([1, 1.5], gap="large")
    with left:
        distance_chart(run, moment)
    with right:
        fragment(lambda: effects(run, moment))
