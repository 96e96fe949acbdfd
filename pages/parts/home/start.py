"""What to do next on Home: the tour, a first run in one click, existing runs."""

import streamlit as st

from minivit import data
from minivit.config import preset
from minivit.runs import EXAMPLE, iterate_runs
from pages.parts.runs.status import start_run
from pages.parts.settings.dataset import offer_download
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import show_errors
from pages.parts.tour.steps import step_params, steps


def start_options() -> None:
    """Three next steps side by side."""
    tour, train, runs = st.container(key="home_start").columns([1, 1.35, 1.1], gap="medium")
    with tour.container(border=True, height="stretch"):
        with st.container(key="home_tour"):
            page = f"pages/{steps()[0].page}.py"
            st.page_link(page, label="Take the tour", icon=":material/tour:", query_params=step_params(1))
        st.caption(f"{len(steps())} steps of less than a minute: from pixels to what attention does not say.")
    with train.container(border=True, height="stretch"):
        _train_your_own()
    with runs.container(border=True, height="stretch"):
        newest = next(iterate_runs(), None)
        label = "Open your newest run" if newest else "Open the example run"
        query = {"run": newest.id if newest else EXAMPLE.name}
        st.page_link("pages/attention.py", label=label, icon=":material/visibility:", query_params=query)
        st.caption("Any image, every layer, head and patch, before and after training.")
        if newest:
            st.page_link("pages/attention.py", label="Open the example run", query_params={"run": EXAMPLE.name})


def _train_your_own() -> None:
    """One click to a first run, or where visitors only look, a line that says so."""
    if not may_change():
        st.caption("This server only shows runs. Train on your own computer.")
        return
    config = preset("article")
    if data.is_present("cifar10"):
        if st.button("Train the article baseline on CIFAR-10", icon=":material/play_arrow:"):
            start_run(config)
        st.caption("One layer on four classes. **Train** lets you choose images and settings first.")
        return
    if st.button("Train the article baseline on synthetic shapes", icon=":material/play_arrow:"):
        start_run(config.changed(dataset="shapes", classes=data.list_classes("shapes")[:4], epochs=30))
    with show_errors():
        offer_download("cifar10", aside=True)
