"""Anatomy: the weights of a run at any saved checkpoint."""

import streamlit as st

from minivit.attention.decomposition import why_no_terms
from pages.parts.anatomy.embedding import decomposition, embedding
from pages.parts.anatomy.heads import ABLATE_KEY, all_heads
from pages.parts.anatomy.rollout_overlays import overlays
from pages.parts.runs.manage import run_settings
from pages.parts.shell.frame import fragment, frame, show_errors
from pages.parts.shell.pickers import pick_checkpoint, pick_run
from pages.parts.shell.url import param

with frame("Anatomy", "The weights at any checkpoint: patch filters, positions, and what each head attends to."):
    run_column, checkpoint_column = st.columns(2, gap="large")
    with run_column:
        run = pick_run()
    with checkpoint_column:
        checkpoint = pick_checkpoint(run)
    sections = {
        "Filters and positions": lambda: embedding(run, checkpoint),
        "Heads": lambda: all_heads(run, checkpoint),
        "Maps": lambda: overlays(run, checkpoint),
    }
    if not why_no_terms(run.config.model):
        sections["Position and content"] = lambda: fragment(lambda: decomposition(run, checkpoint))
    first = "Heads" if param(ABLATE_KEY) else "Filters and positions"  # what links without a tab open
    tabs = st.tabs(list(sections), key="anatomy_tab", bind="query-params", default=first)
    for tab, section in zip(tabs, sections.values(), strict=True):
        if tab.open:
            with tab, show_errors():
                section()
    run_settings(run)
