"""What the model sees: augmented samples, and one image and its patches."""

from typing import Literal

import streamlit as st
import torch

from minivit.data import ImageSet, augment, mix_pairs, patches
from minivit.figures import patch_mosaic
from minivit.inference import as_float
from pages.parts.components.gallery import GalleryItem, gallery

Augmentation = Literal["flip", "flip-crop", "rand", "mixup", "cutmix"]

AUGMENTATIONS: dict[Augmentation, str] = {
    "flip": "Half of the images are mirrored.",
    "flip-crop": "Half of the images are mirrored; all are shifted by up to an eighth of the side.",
    "rand": "RandAugment: flip-crop and two random operations on shape or color per image.",
    "mixup": "Mixup: a weighted mean of two images, and of their labels.",
    "cutmix": "CutMix: a rectangle of another image; labels are weighted by its area.",
}


def augmented_samples(samples: ImageSet) -> None:
    """A selectbox of augmentations, and the augmented samples; a button resamples."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Augmentation", AUGMENTATIONS, key="data_augment", bind="query-params", width=200)
        if st.button("Resample", key="data_resample", icon=":material/casino:"):
            st.session_state["data_seed"] = st.session_state.get("data_seed", 0) + 1
    st.caption(AUGMENTATIONS[name])
    generator = torch.Generator().manual_seed(st.session_state.get("data_seed", 0))
    images = samples.images[:]
    titles = [samples.classes[label] for label in samples.labels]
    if name == "mixup" or name == "cutmix":
        mixup, cutmix = float(name == "mixup"), float(name == "cutmix")
        pairs = as_float(images), samples.labels, len(samples.classes)
        mixed, shares = mix_pairs(*pairs, generator=generator, mixup=mixup, cutmix=cutmix)
        images = (255 * mixed).round().to(torch.uint8)
        titles = [mixed_title(row.tolist(), samples.classes) for row in shares]
    else:
        images = augment(images, name, generator)
    items = [GalleryItem(index, title) for index, title in enumerate(titles)]
    gallery(images.numpy(), items, key="data_augmented", label="Augmented samples")


def mixed_title(shares: list[float], classes: tuple[str, ...]) -> str:
    """The classes of a mixed image with their shares, the larger first."""
    parts = sorted(((share, name) for share, name in zip(shares, classes, strict=True) if share > 0), reverse=True)
    return " + ".join(f"{name} {share:.0%}" for share, name in parts)


def image_and_patches(samples: ImageSet, image: int, patch_size: int) -> None:
    """An image beside its patches, with the size of the model's input."""
    pixels = samples.images[image : image + 1]
    img_size = pixels.shape[-1]
    cut = patches(pixels, patch_size)[0]
    left, right = st.columns(2)
    left.image(
        patch_mosaic(patches(pixels, img_size)[0].numpy()),
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
