"""Sample images as an augmentation changes them: what the model gets to see while it learns."""

from typing import Literal

import streamlit as st
import torch

from minivit.data import ImageSet, augment, mix_pairs
from minivit.inference import as_float
from pages.parts.components.gallery import Title, gallery

Change = Literal["flip", "flip-crop", "rand", "mixup", "cutmix"]

CHANGES: dict[Change, str] = {
    "flip": "Mirrored by chance.",
    "flip-crop": "Mirrored by chance and shifted by up to an eighth of the side.",
    "rand": "RandAugment: also two random changes of shape or colour each.",
    "mixup": "Mixup: two images averaged, and their labels by the same share.",
    "cutmix": "CutMix: a rectangle of one image in another, labels by its area.",
}


def augmented(shown: ImageSet) -> None:
    """A choice of augmentation, and the samples as it changes them; another draw at a click."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = st.selectbox("Augmentation", CHANGES, key="data_augment", bind="query-params", width=200)
        if st.button("Draw again", key="data_draw", icon=":material/casino:"):
            st.session_state["data_draws"] = st.session_state.get("data_draws", 0) + 1
    st.caption(CHANGES[how])
    generator = torch.Generator().manual_seed(st.session_state.get("data_draws", 0))
    images, names = shown.images[:], [shown.classes[label] for label in shown.labels]
    if how == "mixup" or how == "cutmix":
        mixed, shares = mix_pairs(
            as_float(images), shown.labels, len(shown.classes), generator=generator,
            mixup=1.0 if how == "mixup" else 0.0, cutmix=1.0 if how == "cutmix" else 0.0,
        )  # fmt: skip
        images = (255 * mixed).round().to(torch.uint8)
        names = [_shares(one.tolist(), shown.classes) for one in shares]
    else:
        images = augment(images, how, generator)
    gallery(
        images.numpy(), [Title(number, name) for number, name in enumerate(names)], key="data_augmented",
        label="Augmented samples",
    )  # fmt: skip


def _shares(shares: list[float], classes: tuple[str, ...]) -> str:
    """The classes of a mixed image with their shares, the larger first."""
    held = sorted(((share, name) for share, name in zip(shares, classes, strict=True) if share > 0), reverse=True)
    return " + ".join(f"{name} {share:.0%}" for share, name in held)
