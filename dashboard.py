"""Home: what MiniViT is, the runs there are, and one click to a first one. `streamlit run dashboard.py`"""

import streamlit as st

from minivit import data
from minivit.config import preset
from minivit.runs import list_runs
from pages.parts.choose import offer_download
from pages.parts.frame import frame
from pages.parts.runs import run_card, start

with frame(
    "MiniViT",
    "Train a small Vision Transformer in the browser and see what it attends to: image by image, head by head, "
    "untrained against trained. Start with one click, or open a run below.",
):
    article = preset("article")
    if data.is_present("cifar10"):
        if st.button("Train the article's experiment on CIFAR-10", type="primary", icon=":material/play_arrow:"):
            start(article)
    else:
        drawn = article.changed(dataset="shapes", classes=("circle", "star", "cross", "heart"), epochs=30)
        if st.button("Train the article's model on drawn shapes", type="primary", icon=":material/play_arrow:"):
            start(drawn)
        offer_download("cifar10")

    runs = list_runs()
    st.subheader("Runs" if runs else "No run yet", anchor=False)
    if not runs:
        st.markdown("The button above starts one; **Train** lets you choose classes and settings first.")
    for row in range(0, len(runs[:12]), 3):
        for column, run in zip(st.columns(3), runs[row : row + 3], strict=False):
            with column:
                run_card(run)
    if len(runs) > 12:
        st.page_link("pages/runs.py", label=f"All {len(runs)} runs")
