"""Can this map be trusted? Deletion and insertion of its patches for one image and for many."""

from collections.abc import Iterator, Sequence

import streamlit as st
import torch
from torch import Tensor

from minivit.attention import METHODS, Head
from minivit.attention.faithfulness import Faithfulness, faithfulness, random_baseline, summary
from minivit.data.image_set import evenly_spaced
from minivit.figures import removal_curves
from minivit.machine import threads_for
from minivit.model import MiniViT
from minivit.runs import Run
from pages.parts.attention.localization import localization
from pages.parts.attention.methods import Selection
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

SIZES = (16, 64, 256)
NUM_RANKINGS, NUM_RANKINGS_PER_IMAGE = 64, 8  # random rankings of one image, and of each of many
CHUNK = 8  # images between two updates of the progress bar


def faithfulness_section(run: Run, epoch: int, image: int, selection: Selection, layer: int, head: Head) -> None:
    """The section; nothing is computed before the user turns it on."""
    st.header("Can this map be trusted?", anchor=False)
    st.caption(
        "Patches are dropped in the order of the map, highest first, and inserted in the same order. If the map ranks "
        "the patches that matter first, the probability falls and rises faster than with random rankings."
    )
    if not st.toggle("Run the check", key="trust", bind="query-params"):
        return
    test_set = cache.split(run.config)[1]
    st.subheader("This image", anchor=False)
    _show(_check_image(run, epoch, image, selection, layer, head), selection, axis_title(selection, test_set.classes))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Many images", anchor=False, width="content")
        num_images = st.selectbox(
            "Test images",
            sorted({min(size, len(test_set)) for size in SIZES}),
            key="trust_images",
            bind="query-params",
            width=140,
            help="Evenly spaced over the test set; the map of each explains its predicted class.",
        )
    result = _check_images(run, epoch, num_images, selection.name, layer, head)
    _show(result, selection, "probability of the predicted class")
    localization(run, epoch, selection.name, layer, head)


def axis_title(selection: Selection, classes: Sequence[str]) -> str:
    """The name of the curves' axis: the probability of a class, or of one class out of two."""
    if selection.contrast is None:
        return f"probability of {classes[selection.target]}"
    target, contrast = classes[selection.target], classes[selection.contrast]
    return f"{target} rather than {contrast}: p / (p + p)"


def _show(result: Faithfulness, selection: Selection, axis: str) -> None:
    deletion, insertion = result.verdicts
    st.markdown(f"**{summary(deletion, insertion)}**")
    random = result.random.mean(0).cpu().numpy()  # (R, N)
    curves = {
        "deletion:\nhighest patches first": (result.deletion.mean(0).cpu().numpy(), random),
        "insertion:\nhighest patches first": (result.insertion.mean(0).cpu().numpy(), random[:, ::-1]),
    }
    st.plotly_chart(removal_curves(curves, axis, selection.method.title), key=f"trust_curves_{len(result.deletion)}")
    for verdict in (deletion, insertion):
        st.caption(f"{str(verdict).capitalize()}.")
    st.caption(f"Rank correlation with leave-one-out: {result.mean_correlation:.2f} (1 is the same ranking).")


@memoize("Dropping patches")
def _check_image(run: Run, epoch: int, image: int, selection: Selection, layer: int, head: Head) -> Faithfulness:
    images = cache.split(run.config)[1].images[image : image + 1]
    target, contrast = selection.tensors()
    with threads_for(run.config):
        model = cache.model_of(run, epoch)
        maps = selection.method.attribute(model, images, target, contrast=contrast, layer=layer, head=head)
        random = _random(model, images, target, NUM_RANKINGS, image, contrast)
        return faithfulness(model, images, target, maps, random, contrast)


@memoize()
def _check_images(run: Run, epoch: int, num_images: int, name: str, layer: int, head: Head) -> Faithfulness:
    test_set, model = cache.split(run.config)[1], cache.model_of(run, epoch)
    predicted = torch.from_numpy(cache.predictions(run, epoch).predicted)
    indices = torch.tensor(evenly_spaced(len(test_set), num_images))
    parts = []
    with threads_for(run.config):
        for chunk in _with_progress(indices.split(CHUNK), "Dropping patches of the test images"):
            images, classes = test_set.images[chunk.tolist()], predicted[chunk]
            maps = METHODS[name].attribute(model, images, classes, layer=layer, head=head)
            random = _random(model, images, classes, NUM_RANKINGS_PER_IMAGE, int(chunk[0]))
            parts.append(faithfulness(model, images, classes, maps, random))
    return Faithfulness.concat(parts)


def _random(
    model: MiniViT, images: Tensor, classes: Tensor, num_rankings: int, seed: int, contrast: Tensor | None = None
) -> Tensor:
    """The random baseline (B, R, N); the seed makes it the same at every visit."""
    size = len(images) * num_rankings, model.config.num_patches
    rankings = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return random_baseline(model, images, classes, rankings.view(len(images), num_rankings, -1), contrast)


def _with_progress(parts: Sequence[Tensor], label: str) -> Iterator[Tensor]:
    bar = st.progress(0.0, label)
    try:
        for num_done, part in enumerate(parts):
            cache.show_progress(bar, label, num_done, len(parts))
            yield part
    finally:
        bar.empty()
