"""Home: an example at a glance, what to do next, and the existing runs. `streamlit run dashboard.py`"""

from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.parts.shell.server import Guard, lifespan, page_routes

app = App(__file__, routes=page_routes(), middleware=[Middleware(Guard)], lifespan=lifespan)

if __name__ == "__main__":  # the page; the server imports only `app`, so that it answers before torch is imported
    import streamlit as st

    from minivit.runs import list_runs
    from pages.parts.home.start import opening, run_cards, start_options
    from pages.parts.shell.frame import fragment, frame, show_errors

    with frame(
        "MiniViT",
        "Train a small Vision Transformer in the browser and see what it attends to: image by image, head by head, "
        "untrained against trained.",
    ):
        with show_errors():
            opening()
        start_options()
        st.header("Runs", anchor=False)
        fragment(run_cards, every=3 if any(run.state.active for run in list_runs()) else None)
