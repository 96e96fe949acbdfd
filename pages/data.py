"""Data: the images, their classes, and the patches that the model gets."""

import streamlit as st

from minivit.config import preset
from minivit.data import patches
from minivit.figures import with_grid
from pages.parts import cached
from pages.parts.choose import choose_data
from pages.parts.frame import frame, set_params, whole
from pages.parts.gallery import Title, gallery

PER_CLASS = 8

with frame(
    "Data", "Choose a data set and its classes, look at samples, and see an image as the model gets it: as patches."
):
    controls, pictures = st.columns([1, 2.4], gap="large")
    with controls:
        config = choose_data(preset("article"))
        train_set, held_out = cached.split(config)
        st.dataframe(
            {
                "class": config.classes,
                "label": list(range(len(config.classes))),
                "train": list(train_set.counts.values()),
                "held out": list(held_out.counts.values()),
            },
            hide_index=True,
        )
        if train_set.skipped:
            st.text(f"{len(train_set.skipped)} files could not be decoded and were left out:")
            st.code("\n".join(train_set.skipped), language=None, height=120)
        fitting = [size for size in (1, 2, 4, 7, 8, 14, 16) if config.model.img_size % size == 0]
        patch_size = st.select_slider("Patch size (px)", fitting, value=4, key="data_patch_size")
    with pictures:
        shown = cached.samples(
            config.dataset, config.data_dir, config.classes, config.model.img_size, config.model.in_chans, PER_CLASS
        )
        st.subheader("Samples of each class", anchor=False)
        image = whole("image", range(len(shown)), 0)
        titles = [Title(number, shown.classes[label]) for number, label in enumerate(shown.labels)]
        picked = gallery(shown.images.numpy(), titles, key="data_samples", label="Samples", selected=image)
        if picked is not None:
            set_params(image=picked)
            st.rerun()
        st.subheader("The picked image as patches", anchor=False)
        whole_image, as_patches = st.columns([1, 1.6])
        whole_image.image(
            with_grid(shown.images[image].numpy(), patch_size),
            caption=f"{config.model.img_size} × {config.model.img_size} px, patches of {patch_size} × {patch_size} px",
        )
        with as_patches:
            cut = patches(shown.images[image : image + 1], patch_size)[0]
            st.caption(
                f"{len(cut)} patches, row by row; each is {cut[0].numel()} numbers "
                f"({cut.shape[1]} channels × {patch_size} × {patch_size}). CLS stands before them as token 0."
            )
            names = [Title(number, f"p{number}") for number in range(len(cut))]
            gallery(cut.numpy(), names, key=f"data_patches_{patch_size}", label="Patches", size=32)
