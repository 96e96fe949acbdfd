"""Progress on a page while a separate process predicts the test images of a large model."""

import threading

import streamlit as st
from cachetools import TTLCache, cached

from minivit.background_predictions import start_predicting, watch
from minivit.inference import Predictions
from minivit.runs import Run
from pages.parts.shell import cache
from pages.parts.shell.frame import fragment

START_SECONDS = 20  # between two starts of the process for the same predictions
GROWTH = 1.5  # the page is redrawn when the number of predictions has grown by this factor


def prediction_progress(run: Run, epoch: int, predictions: Predictions) -> None:
    """A progress bar until all test images are predicted; redraws the page as `predictions` grow."""
    total, num_draws = len(cache.test_set(run)), 0

    def draw() -> None:
        nonlocal num_draws
        if num_draws:  # the page is drawn first
            watch(run, epoch)
            _start(run, epoch)
        num_draws += 1
        done = len(cache.predictions(run, epoch))
        st.progress(done / total, f"Predicting the test images: {done:,} of {total:,}")
        if done == total or done > GROWTH * len(predictions) + 8:
            st.rerun()

    if len(predictions) < total:
        fragment(draw, every=1)


@cached(TTLCache(256, START_SECONDS), lock=threading.Lock())
def _start(run: Run, epoch: int) -> None:
    start_predicting(run, epoch)
