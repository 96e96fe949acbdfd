"""Anatomy: what the weights of a run are made of, at any moment that was kept."""

import streamlit as st

from pages.parts.filters import filters, positions
from pages.parts.frame import fragment, frame, pick_run
from pages.parts.heads import distance_chart, effects
from pages.parts.moments import pick_moment
from pages.parts.overlays import overlays
from pages.parts.terms import terms

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
