"""Home: what MiniViT is, the existing runs, and a first run in one click. `streamlit run dashboard.py`"""

from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.parts.shell.server import NoUploads, lifespan, page_routes

app = App(__file__, routes=page_routes(), middleware=[Middleware(NoUploads)], lifespan=lifespan)

if __name__ == "__main__":  # the page; the server imports only `app`, so that it answers before torch is imported
    import streamlit as st

    from minivit import data
    from minivit.config import preset
    from minivit.runs import list_runs
    from pages.parts.runs.cards import run_cards
    from pages.parts.runs.status import start_run
    from pages.parts.settings.dataset import offer_download
    from pages.parts.shell.access import may_change
    from pages.parts.shell.frame import fragment, frame, show_errors

    with frame(
        "MiniViT",
        "Train a small Vision Transformer in the browser and see what it attends to: image by image, head by head, "
        "untrained against trained. Start with one click, or open a run below.",
    ):
        if may_change():
            config = preset("article")
            if data.is_present("cifar10"):
                if st.button("Train the article baseline on CIFAR-10", type="primary", icon=":material/play_arrow:"):
                    start_run(config)
            else:
                if st.button(
                    "Train the article baseline on synthetic shapes", type="primary", icon=":material/play_arrow:"
                ):
                    start_run(config.changed(dataset="shapes", classes=data.list_classes("shapes")[:4], epochs=30))
                with show_errors():
                    offer_download("cifar10")

        st.header("Runs", anchor=False)
        fragment(run_cards, every=3 if any(run.state.active for run in list_runs()) else None)
