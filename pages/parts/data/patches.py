"""One image and its patches."""

import streamlit as st

from minivit.data import ImageSet, patches
from minivit.figures import patch_mosaic


def image_and_patches(samples: ImageSet, image: int, patch_size: int) -> None:
    """An image beside its patches, with the size of the model's input."""
    selected = samples.images[image : image + 1]
    img_size = selected.shape[-1]
    cut = patches(selected, patch_size)[0]
    left, right = st.columns(2)
    left.image(
        patch_mosaic(patches(selected, img_size)[0].numpy()),
        caption=f"{img_size} × {img_size} px",
        output_format="PNG",
        alt="The selected image",
    )
    right.image(
        patch_mosaic(cut.numpy()),
        caption=f"{len(cut)} patches, p0 to p{len(cut) - 1} row by row; each has {cut[0].numel()} values "
        f"({cut.shape[1]} × {patch_size} × {patch_size}). The CLS token comes first, as token 0.",
        output_format="PNG",
        alt="The same image cut into patches",
    )
