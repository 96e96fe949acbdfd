"""Data: the images, their classes, and the patches that the model gets."""

import streamlit as st

from minivit.config import preset
from minivit.data import patches
from minivit.figures import patch_mosaic
from pages.parts.components.gallery import Title, gallery
from pages.parts.data.augmented import augmented
from pages.parts.settings.form import choose_data
from pages.parts.shell import cache
from pages.parts.shell.frame import frame, side_by_side
from pages.parts.shell.url import int_param, set_params

NUM_SAMPLES = 48

with frame(
    "Data", "Choose a data set and its classes, look at samples, and see an image as the model gets it: as patches."
):
    controls, pictures = side_by_side(pictures=2.4)
    with controls:
        config = choose_data(preset("article"))
        train_set, test_set = cache.split(config)
        st.dataframe(
            {
                "class": config.classes,
                "label": list(range(len(config.classes))),
                "train": list(train_set.counts.values()),
                "held out": list(test_set.counts.values()),
            },
            hide_index=True,
        )
        if train_set.skipped:
            st.text(f"{len(train_set.skipped)} files could not be decoded and were left out:")
            st.code("\n".join(train_set.skipped), language=None, height=120)
        fitting = [size for size in (1, 2, 4, 7, 8, 14, 16) if config.model.img_size % size == 0]
        patch_size = st.select_slider("Patch size (px)", fitting, value=4, key="data_patch_size")
    with pictures:
        per_class = max(1, min(8, NUM_SAMPLES // len(config.classes)))
        shown = cache.samples(
            config.dataset, config.data_dir, config.classes, config.model.img_size, config.model.in_chans, per_class
        )
        image = int_param("image", range(len(shown)), 0)
        st.header("One image as the model gets it", anchor=False)
        whole_image, as_patches = st.columns(2)
        cut = patches(shown.images[image : image + 1], patch_size)[0]
        whole_image.image(
            patch_mosaic(patches(shown.images[image : image + 1], config.model.img_size)[0].numpy()),
            caption=f"{config.model.img_size} × {config.model.img_size} px", output_format="PNG",
            alt="The picked image",
        )  # fmt: skip
        as_patches.image(
            patch_mosaic(cut.numpy()), output_format="PNG", alt="The same image cut into patches",
            caption=f"{len(cut)} patches, p0 to p{len(cut) - 1} row by row; each is {cut[0].numel()} numbers "
            f"({cut.shape[1]} × {patch_size} × {patch_size}). CLS stands before them as token 0.",
        )  # fmt: skip
        st.header("Samples of each class", anchor=False)
        titles = [Title(number, shown.classes[label]) for number, label in enumerate(shown.labels)]
        picked = gallery(shown.images[:].numpy(), titles, key="data_samples", label="Samples", selected=image)
        if picked is not None:
            set_params(image=picked)
            st.rerun()
        st.header("As augmentation changes them", anchor=False)
        augmented(shown)
