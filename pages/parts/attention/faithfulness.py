"""Can this map be trusted? Deletion and insertion of its patches for one image and for many, and localization."""

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
from minivit.attention.localization import (
    Localization,
    Share,
    localize,
    localize_methods,
    revealing_controls,
    uniform_energy,
    uniform_pointing,
)
from minivit.attention.methods import stem_note
from minivit.attention.verdicts import Verdict, summary
from minivit.data.image_set import evenly_spaced
from minivit.figures import removal_curves, share_curves
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.attention.cascade import cascade_section
from pages.parts.attention.methods import MethodSelection
from pages.parts.shell import cache
from pages.parts.shell.cache import ImageId
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import pick_num_images
from pages.parts.shell.progress import estimate, progress

SIZES = (16, 64, 256)
NUM_RANKINGS, NUM_RANKINGS_PER_IMAGE = 64, 8  # random rankings of one image, and of each of many
NUM_IMAGES, NUM_EPOCHS = 64, 17


def faithfulness_section(
    run: Run, epoch: int, image: ImageId, selection: MethodSelection, layer: int, head: Head
) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.header("Can this map be trusted?", anchor=False, help=explain("Deletion and insertion"))
    st.caption(
        "Patches are dropped in the order of the map, highest first, and inserted in the same order. If the map ranks "
        "the patches that matter first, the probability falls and rises faster than with random rankings, and than "
        "with the same method's maps of other images. A faithful map shows what this model depends on. This does "
        f"not mean that the model itself is right. {stem_note(run.config.model)}".strip()
    )
    if st.toggle("Run the check", key="trust", bind="query-params"):
        _check(run, epoch, image, selection, layer, head)
    else:
        st.caption(estimate(num_multiplications(run.config.model, SIZES[0], NUM_RANKINGS_PER_IMAGE)))
    cascade_section(run, epoch, selection.name, layer, head)


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
    localization(run, epoch, selection.name, layer, head)


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
    test_set, model, images = cache.test_set(run), cache.model_of(run, epoch), cache.image_pixels(run, image)
    indices = [index for index in evenly_spaced(len(test_set), NUM_OTHERS + 1) if index != image][:NUM_OTHERS]
    target, contrast = selection.tensors()
    with threads_for(run.config), progress("Dropping patches of this image", cancel="trust") as report:
        attribute = partial(selection.method.attribute, model, layer=layer, head=head, report=report)
        maps = attribute(images, target, contrast=contrast)
        others = attribute(test_set.images[indices], cache.predicted_classes(run, epoch, tuple(indices)))
        return check(model, images, target, maps, others[None], NUM_RANKINGS, cache.seed(image), report, contrast)


@memoize()
def _check_images(run: Run, epoch: int, num_images: int, name: str, layer: int, head: Head) -> Faithfulness:
    test_set, model = cache.test_set(run), cache.model_of(run, epoch)
    indices = evenly_spaced(len(test_set), num_images)
    with threads_for(run.config), progress("Dropping patches of the test images", cancel="trust") as report:
        images, classes = test_set.images[indices], cache.predicted_classes(run, epoch, tuple(indices))
        maps = METHODS[name].attribute(model, images, classes, layer=layer, head=head, report=report)
        return check(model, images, classes, maps, maps_of_others(maps), NUM_RANKINGS_PER_IMAGE, 0, report)


@memoize()
def _check_controls(run: Run, epoch: int, num_images: int) -> dict[str, tuple[Verdict, Verdict]]:
    test_set, model = cache.test_set(run), cache.model_of(run, epoch)
    indices = evenly_spaced(len(test_set), num_images)
    with threads_for(run.config), progress("Dropping patches in the order of the controls", cancel="trust") as report:
        images, classes = test_set.images[indices], cache.predicted_classes(run, epoch, tuple(indices))
        return check_controls(model, images, classes, NUM_RANKINGS_PER_IMAGE, 0, report)


def localization(run: Run, epoch: int, name: str, layer: int, head: Head) -> None:
    """Every map at this epoch and untrained as a table, and the selected one over all saved epochs."""
    st.subheader("Localization", anchor=False)
    if cache.test_set(run).masks is None:
        st.caption(
            "Only the synthetic shapes have object masks. Train on them to see how much of each map lies on the object."
        )
        return
    images, _, masks = _masked_images(run)
    uniform = (float(uniform_energy(masks).mean()), float(uniform_pointing(masks, run.config.model.patch_size).mean()))
    st.caption(
        f"{len(images)} test images, true class, with 95% intervals. Energy inside the object: the share of the map "
        f"on the object; {uniform[0]:.1%} for a uniform map. Pointing game: how often the highest patch touches the "
        f"object; {uniform[1]:.1%} of all patches do. The verdict compares the energy with that of a uniform map, by a "
        "paired t test corrected for the number of maps. Controls do not use the model."
    )
    results = [_localize_methods(run, epoch), _localize_methods(run, 0)]
    if line := revealing_controls(results[0]):
        st.caption(line)
    st.dataframe(
        [
            {
                "map": after.name,
                f"energy, epoch {epoch}": format_share(after.energy),
                "energy, untrained": format_share(before.energy),
                f"pointing, epoch {epoch}": format_share(after.pointing),
                "pointing, untrained": format_share(before.pointing),
                "verdict on the energy": after.verdict,
            }
            for after, before in zip(*results, strict=True)
        ],
        column_config={"map": st.column_config.TextColumn(width=230)},
        hide_index=True,
    )
    saved = run.epochs()
    epochs = [saved[index] for index in evenly_spaced(len(saved), NUM_EPOCHS)]
    by_epoch = [_localize(run, saved_epoch, name, layer, head) for saved_epoch in epochs]
    shares = {
        "energy inside the object": [result.energy for result in by_epoch],
        "highest patch touches the object": [result.pointing for result in by_epoch],
    }
    figure = share_curves(
        epochs,
        {title: [(share.value, share.low, share.high) for share in values] for title, values in shares.items()},
        dict(zip(shares, uniform, strict=True)),
        f"{METHODS[name].title} (share)",
    )
    st.plotly_chart(figure, key="trust_epochs")


def format_share(share: Share) -> str:
    """A share with its interval: "80.5% (78.9 to 82.0)"."""
    return f"{share.value:.1%} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _masked_images(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Some test images with their labels and masks, in memory."""
    test_set = cache.test_set(run)
    assert test_set.masks is not None
    indices = evenly_spaced(len(test_set), NUM_IMAGES)
    return test_set.images[indices], test_set.labels[indices], test_set.masks[indices]


@memoize("Comparing the maps with the objects")
def _localize_methods(run: Run, epoch: int) -> list[Localization]:
    images, labels, masks = _masked_images(run)
    with threads_for(run.config):
        return localize_methods(cache.model_of(run, epoch), images, masks, labels)


@memoize()
def _localize(run: Run, epoch: int, name: str, layer: int, head: Head) -> Localization:
    images, labels, masks = _masked_images(run)
    method = METHODS[name]
    with threads_for(run.config):
        maps = method.attribute(cache.model_of(run, epoch), images, labels, layer=layer, head=head)
    return localize(method.title, maps, masks, run.config.model.patch_size)
