"""Data: the images, their classes, and the patches that the model gets."""

import streamlit as st

from minivit.config import preset
from pages.parts.components.gallery import Title, gallery
from pages.parts.data.augmented import augmented_samples
from pages.parts.data.patches import image_and_patches
from pages.parts.settings.dataset import pick_data
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, side_by_side
from pages.parts.shell.url import int_param, set_params

NUM_SAMPLES = 48

with frame("Data", "Choose a data set and its classes, look at samples, and see an image as patches."):
    controls, pictures = side_by_side(pictures=2.4)
    with controls:
        config = pick_data(preset("article"))
        img_size, in_chans = config.model.img_size, config.model.in_chans
        train_set, test_set = cache.split(config)
        st.dataframe(
            {
                "class": config.classes,
                "label": list(range(len(config.classes))),
                "train": list(train_set.counts.values()),
                "test": list(test_set.counts.values()),
            },
            hide_index=True,
        )
        if train_set.skipped:
            st.text(f"{len(train_set.skipped)} files could not be decoded and were left out:")
            st.code("\n".join(train_set.skipped), language=None, height=120)
        patch_sizes = [size for size in (1, 2, 4, 7, 8, 14, 16) if img_size % size == 0]
        patch_size = st.select_slider("Patch size (px)", patch_sizes, value=4, key="data_patch_size")
    with pictures:
        per_class = max(1, min(8, NUM_SAMPLES // len(config.classes)))
        samples = cache.samples(config.dataset, config.data_dir, config.classes, img_size, in_chans, per_class)
        image = int_param("image", range(len(samples)), 0)
        st.header("What the model sees", anchor=False)
        image_and_patches(samples, image, patch_size)
        st.header("Samples of each class", anchor=False)
        titles = [Title(index, samples.classes[label]) for index, label in enumerate(samples.labels)]
        picked = gallery(samples.images[:].numpy(), titles, key="data_samples", label="Samples", selected=image)
        if picked is not None:
            set_params(image=picked)
            st.rerun()
        st.header("Augmented samples", anchor=False)
        augmented_samples(samples)
