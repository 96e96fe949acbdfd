"""Anatomy: what the weights themselves look like, at any saved epoch."""

import streamlit as st

from minivit.attention import position_similarity, uniform_distance
from minivit.figures import distances, filter_images, similarity_grid
from pages.parts import cached
from pages.parts.frame import frame, pick_epoch, pick_run
from pages.parts.gallery import Title, gallery

NUM_IMAGES = 64

with frame(
    "Anatomy",
    "The weights of a run at any epoch: what a patch is matched with, which places are alike, how far heads look.",
):
    which, when = st.columns(2, gap="large")
    with which:
        run = pick_run()
    with when:
        epoch = pick_epoch(run)
    model, patch_size = cached.model_of(run, epoch), run.config.model.patch_size
    left, right = st.columns([1.2, 1], gap="large")
    with left:
        st.header("Patch filters", anchor=False)
        st.caption(
            "One filter per embedding dimension, the rows of patch_embed.proj. Mid-grey is 0; all share one scale, "
            "so strong filters have strong colours."
        )
        filters = filter_images(model.patch_embed.proj.weight.detach().numpy())
        if filters.shape[1] in (1, 3):
            names = [Title(number, f"{number}") for number in range(len(filters))]
            gallery(filters, names, key="anatomy_filters", label="Patch filters", size=48)
    with right:
        st.header("Position similarity", anchor=False)
        st.caption("Cosine between one patch's position and all others: a small map per patch, in its place.")
        st.plotly_chart(similarity_grid(position_similarity(model).numpy()), key="anatomy_positions")
        st.header("Mean attention distance", anchor=False)
        st.caption(f"How far each head looks, over {NUM_IMAGES} held-out images.")
        far = cached.mean_distance(run, epoch, NUM_IMAGES)
        st.plotly_chart(distances(far, uniform_distance(run.config.model.grid, patch_size)), key="anatomy_distance")
