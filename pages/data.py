"""Data: the images, their classes, and the patches that the model reads."""

import streamlit as st

from minivit.config import preset
from pages.parts.components.gallery import GalleryItem, gallery
from pages.parts.data.samples import augmented_samples, image_and_patches
from pages.parts.data.uploads import uploads
from pages.parts.settings.dataset import original_size_column, pick_data
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, side_by_side
from pages.parts.shell.url import int_param, set_params

NUM_SAMPLES = 48

with frame("Data", "Choose a data set and its classes, view samples, and see an image as patches."):
    uploads()
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
                **original_size_column(config),
            },
            hide_index=True,
        )
        if lines := cache.remarks(config):
            st.text("About these images:")
            st.code("\n".join(lines), language=None, height=120, wrap_lines=True)
        patch_sizes = [size for size in (1, 2, 4, 7, 8, 14, 16) if img_size % size == 0]
        patch_size = st.select_slider("Patch size (px)", patch_sizes, value=4, key="data_patch_size")
    with pictures:
        per_class = max(1, min(8, NUM_SAMPLES // len(config.classes)))
        samples = cache.samples(config.dataset, config.data_dir, config.classes, img_size, in_chans, per_class)
        image = int_param("image", range(len(samples)), 0)
        st.header("What the model sees", anchor=False)
        image_and_patches(samples, image, patch_size)
        st.header("Samples of each class", anchor=False)
        titles = [GalleryItem(index, samples.classes[label]) for index, label in enumerate(samples.labels)]
        click = gallery(samples.images[:].numpy(), titles, key="data_samples", label="Samples", selected=image)
        if click is not None:
            set_params(image=click)
            st.rerun()
        st.header("Augmented samples", anchor=False)
        augmented_samples(samples)
