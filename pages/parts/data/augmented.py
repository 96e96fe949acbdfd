"""Sample images under each augmentation, as the model sees them in training."""

from typing import Literal

import streamlit as st
import torch

from minivit.data import ImageSet, augment, mix_pairs
from minivit.inference import as_float
from pages.parts.components.gallery import Title, gallery

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
    images, titles = samples.images[:], [samples.classes[label] for label in samples.labels]
    if name == "mixup" or name == "cutmix":
        mixed, shares = mix_pairs(
            as_float(images),
            samples.labels,
            len(samples.classes),
            generator=generator,
            mixup=1.0 if name == "mixup" else 0.0,
            cutmix=1.0 if name == "cutmix" else 0.0,
        )
        images = (255 * mixed).round().to(torch.uint8)
        titles = [mixed_title(row.tolist(), samples.classes) for row in shares]
    else:
        images = augment(images, name, generator)
    gallery(
        images.numpy(),
        [Title(index, title) for index, title in enumerate(titles)],
        key="data_augmented",
        label="Augmented samples",
    )


def mixed_title(shares: list[float], classes: tuple[str, ...]) -> str:
    """The classes of a mixed image with their shares, the larger first."""
    parts = sorted(((share, name) for share, name in zip(shares, classes, strict=True) if share > 0), reverse=True)
    return " + ".join(f"{name} {share:.0%}" for share, name in parts)
