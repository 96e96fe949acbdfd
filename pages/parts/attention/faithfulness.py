"""Can this map be trusted? Deletion and insertion of its patches for one image and for many."""

from collections.abc import Sequence
from functools import partial

import streamlit as st
from torch import Tensor

from minivit.attention import METHODS, Head
from minivit.attention.faithfulness import (
    NUM_OTHERS,
    Faithfulness,
    check,
    check_controls,
    maps_of_others,
    num_multiplications,
)
from minivit.attention.methods import stem_note
from minivit.attention.verdicts import Verdict, summary
from minivit.data.image_set import evenly_spaced
from minivit.figures import removal_curves
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.attention.cascade import cascade_section
from pages.parts.attention.localization import localization_section
from pages.parts.attention.selection import MethodSelection
from pages.parts.components.inspector import View
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import pick_num_images
from pages.parts.shell.progress import estimate, progress

SIZES = (16, 64, 256)
NUM_RANKINGS, NUM_RANKINGS_PER_IMAGE = 64, 8  # random rankings of one image, and of each of many


def faithfulness_section(run: Run, epoch: int, image: ImageId, selection: MethodSelection, view: View) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.header("Can this map be trusted?", anchor=False, help=explain("Deletion and insertion"))
    st.caption(
        "Patches are dropped in the order of the map, highest first, and inserted in the same order. If the map ranks "
        "the patches that matter first, the probability falls and rises faster than with random rankings, and than "
        "with the same method's maps of other images. A faithful map shows what this model depends on. This does "
        f"not mean that the model itself is right. {stem_note(run.config.model)}".strip()
    )
    if st.toggle("Run the check", key="trust", bind="query-params"):
        _check(run, epoch, image, selection, view.layer, view.head)
    else:
        st.caption(estimate(num_multiplications(run.config.model, SIZES[0], NUM_RANKINGS_PER_IMAGE)))
    cascade_section(run, epoch, selection.name, view.layer, view.head)


def _check(run: Run, epoch: int, image: ImageId, selection: MethodSelection, layer: int, head: Head) -> None:
    test_set = cache.test_set(run)
    st.subheader("This image", anchor=False)
    _show(_check_image(run, epoch, image, selection, layer, head), selection, axis_title(selection, test_set.classes))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Many images", anchor=False, width="content")
        is_slow = estimate(num_multiplications(run.config.model, SIZES[1], NUM_RANKINGS_PER_IMAGE)) != ""
        text = "Evenly spaced over the test set; the map of each explains its predicted class."
        num_images = pick_num_images(SIZES, len(test_set), SIZES[not is_slow], key="trust_images", help=text)
    result = _check_images(run, epoch, num_images, selection.name, layer, head)
    _show(result, selection, "probability of the predicted class")
    outcomes = [
        f"{control} {deletion.outcome}, {insertion.outcome}"
        for control, (deletion, insertion) in _check_controls(run, epoch, num_images).items()
    ]
    st.caption(f"Maps that use no model, deletion and insertion: {'; '.join(outcomes)}.")
    localization_section(run, epoch, selection.name, layer, head)


def axis_title(selection: MethodSelection, classes: Sequence[str]) -> str:
    """The title of the curves' axis: the probability of a class, or of one class out of two."""
    if selection.contrast is None:
        return f"probability of {classes[selection.target]}"
    target, contrast = classes[selection.target], classes[selection.contrast]
    return f"p({target}) / (p({target}) + p({contrast}))"


def _show(result: Faithfulness, selection: MethodSelection, axis: str) -> None:
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
    st.caption(
        f"SaCo: {result.saco.mean():.2f} (−1 to 1; above 0, patches with higher values have larger effects). Rank "
        f"correlation with leave-one-out: {result.mean_correlation:.2f} (1 is the same ranking)."
    )


@memoize()
def _check_image(
    run: Run, epoch: int, image: ImageId, selection: MethodSelection, layer: int, head: Head
) -> Faithfulness:
    """For one image; the controls include the maps of other test images, each for its own predicted class."""
    test_set = cache.test_set(run)
    model = cache.model_of(run, epoch)
    images = cache.image_pixels(run, image)
    indices = [index for index in evenly_spaced(len(test_set), NUM_OTHERS + 1) if index != image][:NUM_OTHERS]
    target, contrast = selection.tensors()
    with threads_for(run.config), progress("Dropping patches of this image", cancel="trust") as report:
        attribute = partial(selection.method.attribute, model, layer=layer, head=head, report=report)
        maps = attribute(images, target, contrast=contrast)
        others = attribute(test_set.images[indices], cache.predicted_classes(run, epoch, tuple(indices)))
        return check(model, images, target, maps, others[None], NUM_RANKINGS, cache.seed(image), report, contrast)


@memoize()
def _check_images(run: Run, epoch: int, num_images: int, name: str, layer: int, head: Head) -> Faithfulness:
    model = cache.model_of(run, epoch)
    with threads_for(run.config), progress("Dropping patches of the test images", cancel="trust") as report:
        images, classes = _images_and_predictions(run, epoch, num_images)
        maps = METHODS[name].attribute(model, images, classes, layer=layer, head=head, report=report)
        return check(model, images, classes, maps, maps_of_others(maps), NUM_RANKINGS_PER_IMAGE, 0, report)


@memoize()
def _check_controls(run: Run, epoch: int, num_images: int) -> dict[str, tuple[Verdict, Verdict]]:
    with threads_for(run.config), progress("Dropping patches in the order of the controls", cancel="trust") as report:
        images, classes = _images_and_predictions(run, epoch, num_images)
        return check_controls(cache.model_of(run, epoch), images, classes, NUM_RANKINGS_PER_IMAGE, 0, report)


def _images_and_predictions(run: Run, epoch: int, num_images: int) -> tuple[Tensor, Tensor]:
    """Evenly spaced test images and their predicted classes."""
    test_set = cache.test_set(run)
    indices = evenly_spaced(len(test_set), num_images)
    return test_set.images[indices], cache.predicted_classes(run, epoch, tuple(indices))
