"""Each head over many images: its attention distance, its mean CLS map, and the accuracy without it."""

import numpy as np
import streamlit as st

from minivit.attention import head_effects, uniform_distance
from minivit.attention.heads import HeadAblation, HeadEffect, head_statistics
from minivit.attention.maps import num_affordable
from minivit.data.image_set import evenly_spaced
from minivit.figures import attention_distance_chart
from minivit.imports import num_head_classes
from minivit.inference import multiplications
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from minivit.stats import wilson
from pages.parts.components.tiles import Row, Scale, map_tiles, tiles
from pages.parts.shell import cache
from pages.parts.shell.frame import fragment
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import pick_num_images
from pages.parts.shell.progress import estimate, progress

NUM_IMAGES = 64
SIZES = (16, 64, 256, 1024, 4096)
DEFAULT_SIZE = 256  # images for head ablation; fewer if the model is large
ABLATE_KEY = "heads_silence"  # the toggle's key, by which existing links turn it on


def all_heads(run: Run, checkpoint: Checkpoint) -> None:
    """Attention distance beside head ablation."""
    left, right = st.columns([1, 1.5], gap="large")
    with left:
        distance_chart(run, checkpoint)
    with right:
        fragment(lambda: heads(run, checkpoint))


def distance_chart(run: Run, checkpoint: Checkpoint) -> None:
    """Mean attention distance per layer and head."""
    st.header("Mean attention distance", anchor=False, help=explain("Mean attention distance"))
    config = run.config.model
    images = cache.some_images(run, NUM_IMAGES)
    uniform = uniform_distance(config.grid, config.patch_size)
    distance = cache.analyze(head_statistics, run, checkpoint, images).distance
    st.markdown(
        f"Patches attend **{distance.min():.1f} to {distance.max():.1f} px** away; uniform would be {uniform:.1f} px."
    )
    st.plotly_chart(attention_distance_chart(distance, uniform), key="anatomy_distance")
    st.caption(
        f"Attention distance of the patches in each head, mean over {len(images)} test images. ViT, figure 7 "
        "right (arXiv 2010.11929)."
        + (" What patches attend to in the last layer does not affect the logits." if config.pool == "cls" else "")
    )


def heads(run: Run, checkpoint: Checkpoint) -> None:
    """The mean CLS map of each head, and once the user turns it on, the accuracy with the head ablated."""
    st.header("Head ablation", anchor=False, help=explain("Head ablation"))
    ablation = _ablation(run, checkpoint)
    if ablation:
        st.markdown(finding(ablation))
    images = cache.some_images(run, NUM_IMAGES)
    maps = cache.analyze(head_statistics, run, checkpoint, images).cls_maps
    captions = {place: caption(effect) for place, effect in ablation.effects().items()} if ablation else {}
    num_tokens = run.config.model.num_tokens
    rows = []
    for layer, layer_maps in enumerate(maps):
        names = [f"head {head + 1}" for head in range(len(layer_maps))]
        texts = [captions.get((layer, head), "") for head in range(len(layer_maps))]
        rows.append(Row(f"layer {layer + 1}", map_tiles(layer_maps, names, texts)))
    low, high = cache.run_scale(run)
    marks = {f"uniform 1/{num_tokens} = {1 / num_tokens:.4f}": 1 / num_tokens}
    scale = Scale(title="Attention, one scale for all maps.", low=low, high=high, marks=marks)
    tiles(rows, scale, key="anatomy_heads", label="Heads", size=104 if len(maps[0]) <= 4 else 78, choice=True)
    st.caption(
        f"CLS map of each head, mean over {len(images)} test images. An ablated head outputs zeros (Michel et "
        "al., arXiv 1905.10650): the drop in accuracy shows how much the model depends on it."
    )


def _ablation(run: Run, checkpoint: Checkpoint) -> HeadAblation | None:
    """The widgets, and the result if the user turned it on."""
    test_set = cache.test_set(run)
    known = np.flatnonzero(test_set.labels.numpy() < num_head_classes(run))
    if not len(known):
        st.info(
            "None of these images belongs to a class of this model, so there is no accuracy to compare. Import it with "
            "the class names that it was trained on, and name the folders after them."
        )
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        default = num_affordable(run.config.model, DEFAULT_SIZE)
        text = "Evenly spaced over the test set. More images give narrower intervals and take longer."
        num_images = pick_num_images(SIZES, len(known), default, key="heads_images", help=text)
        is_on = st.toggle("Ablate each head", key=ABLATE_KEY, bind="query-params")
    if not is_on:
        config = run.config.model
        num_heads = config.depth * config.num_heads
        st.caption(estimate(num_images * num_heads * multiplications(config) / 2))  # the layers from the head's on
        return None
    return _ablate(run, checkpoint, tuple(known[evenly_spaced(len(known), num_images)].tolist()))


def finding(ablation: HeadAblation) -> str:
    """A summary: the accuracy with all heads, and the head that the model depends on most."""
    total = len(ablation.complete)
    num_correct = int(ablation.complete.sum())
    low, high = wilson(num_correct, total)
    accuracy = f"All heads: **{num_correct / total:.1%}** ({low:.1%} to {high:.1%}) of {total:,} test images correct. "
    effects = ablation.effects()
    significant = [position for position, effect in effects.items() if effect.is_significant]
    if not significant:
        return accuracy + "No head has a significant effect on these images."
    layer, head = min(significant, key=lambda position: effects[position].change)
    largest = effects[layer, head]
    return accuracy + (
        f"Without layer {layer + 1}, head {head + 1}: **{largest.accuracy:.1%}** ({points(largest)}). "
        f"{len(significant)} of {len(effects)} heads have a significant effect at 95%; by chance alone it would be at "
        f"most about {len(effects) / 20:.1g}."
    )


def caption(effect: HeadEffect) -> str:
    """Accuracy, and its change in points with the 95% interval, in three lines."""
    return f"{effect.accuracy:.1%}\n" + points(effect).replace(", ", "\n")


def points(effect: HeadEffect) -> str:
    """A change of accuracy with its 95% interval, in percentage points."""
    values = (effect.change, effect.low, effect.high)
    change, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in values)
    return f"{change} points, {low} to {high}"


@memoize()
def _ablate(run: Run, checkpoint: Checkpoint, indices: tuple[int, ...]) -> HeadAblation:
    test_set = cache.test_set(run)
    model = cache.model_of(run, checkpoint)
    images, labels = test_set.images[list(indices)], test_set.labels[list(indices)]
    with threads_for(run.config), progress("Ablating each head", cancel=ABLATE_KEY) as report:
        return head_effects(model, images, labels, report)
