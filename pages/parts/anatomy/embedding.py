"""Patch filters, the similarity of position embeddings, and position and content in the attention scores of layer 1."""

from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import TERMS
from minivit.attention.decomposition import ClsTerms, cls_terms, filter_components, position_similarity
from minivit.figures import filter_images, similarity_grid, term_bars
from minivit.runs import Checkpoint, Run
from pages.parts.components.tiles import Row, Scale, Tile, map_tiles, signed_scale, tiles
from pages.parts.shell import cache
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import pick_image

MAX_FILTERS = 64  # of a convolution
NUM_IMAGES = 64
NEARLY_UNIFORM = 1.5  # below this multiple of the average attention per patch, the top patch does not stand out


def embedding(run: Run, checkpoint: Checkpoint) -> None:
    """Patch filters beside the similarity of positions."""
    left, right = st.columns(2, gap="large")
    with left:
        filters(run, checkpoint)
    with right:
        positions(run, checkpoint)


def filters(run: Run, checkpoint: Checkpoint) -> None:
    """Principal components of the patch embedding, or the first filters of a convolutional stem."""
    model = cache.model_of(run, checkpoint)
    config = run.config.model
    if config.stem == "conv":
        st.header("Filters of the first convolution", anchor=False)
        layer: Any = model.patch_embed.stem[0]  # type: ignore[index]
        weight = layer.weight.detach()
        count = "all" if len(weight) <= MAX_FILTERS else f"{MAX_FILTERS} of the"
        st.markdown(f"These are {count} {len(weight)} filters of the first convolution.")
        weight = weight[:MAX_FILTERS].numpy()
        _draw(weight, [""] * len(weight))
        st.caption(
            "This stem is convolutional: several 3×3 convolutions turn a patch into a token, so there are no patch "
            "filters and no principal components of them."
        )
        return
    st.header("Patch filters", anchor=False)
    components, shares, num_possible = _components(run, checkpoint)
    st.markdown(f"{len(shares)} components explain **{shares.sum():.1%}** of the filters' variance.")
    _draw(components, [f"{share:.1%}" for share in shares])
    st.caption(
        f"Principal components of the {config.embed_dim} filters in `patch_embed.proj`, each with its share of the "
        f"filters' variance. Equal shares would be {1 / num_possible:.1%} each, but the random filters of an untrained "
        "model have unequal shares too. ViT, figure 7 left (arXiv 2010.11929)."
    )


@memoize()
def _components(run: Run, checkpoint: Checkpoint) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    weight = cache.model_of(run, checkpoint).patch_embed.proj.weight
    components, shares = filter_components(weight)
    return components.numpy(), shares.numpy(), min(len(weight) - 1, weight[0].numel())


def _draw(weights: NDArray[np.float32], captions: list[str]) -> None:
    channels = weights.shape[1]
    largest = float(np.abs(weights).max())
    if channels not in (1, 3):
        st.info(f"This model reads {channels} channels; filters can be drawn for 1 (gray) or 3 (color).")
        return
    pictures = filter_images(weights).transpose(0, 2, 3, 1)
    title = "Weight of a pixel" + (", for red, green and blue" if channels == 3 else "") + ". One scale for all."
    tiles(
        [Row("", [Tile(picture, caption=caption) for picture, caption in zip(pictures, captions, strict=True)])],
        Scale(title=title, low=-largest, high=largest, colors="gray", marks={"0": 0.0}),
        key="anatomy_filters",
        label="Patch filters",
        size=60,
    )


def positions(run: Run, checkpoint: Checkpoint) -> None:
    """Cosine similarity of the position embeddings."""
    st.header("Position similarity", anchor=False, help=explain("Position embedding"))
    origin = {
        "sine": "The table of sines is fixed: the same at every checkpoint, and most similar for neighbors in a row.",
        "learned": "They are learned. They start as random vectors, which are not similar to each other.",
    }
    if run.config.model.pos_embed == "rotary":
        st.markdown(
            "This model has **rotary positions**, so there are no embeddings to compare: each layer rotates queries "
            "and keys of patches by their row and column, and a score depends on the offset between two patches."
        )
        return
    st.markdown("Each small map is a patch: how similar its position is to all others.")
    similarity = position_similarity(cache.model_of(run, checkpoint)).numpy()
    st.plotly_chart(similarity_grid(similarity), key="anatomy_positions")
    st.caption(f"Cosine similarity between position embeddings. {origin[run.config.model.pos_embed]}")


def decomposition(run: Run, checkpoint: Checkpoint) -> None:
    """The four terms and their sum for one image, a bar per head over many images, and a summary."""
    st.header("Position and content in layer 1", anchor=False)
    test_set = cache.test_set(run)
    indices = cache.some_images(run, NUM_IMAGES)
    terms = cache.analyze(cls_terms, run, checkpoint, indices)
    st.markdown(finding(terms))
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        image = pick_image(len(test_set))
        label = test_set.classes[test_set.labels[image]]
        # One scale for all checkpoints and images
        scale_max = cache.analyze(cls_terms, run, cache.newest_readable(run), indices).scale_max
        of_image = cache.analyze(cls_terms, run, checkpoint, (image,))
        _maps(of_image, test_set.images[image].numpy(), label, scale_max)
    with right:
        st.caption(
            f"Share of each term in the variance of the CLS scores over patches, {len(indices)} test images. Terms are "
            "named query–key. A term that counteracts the others is below 0."
        )
        st.plotly_chart(term_bars(terms.shares, TERMS), key="anatomy_terms")
        st.caption("A score is q·k/√d; q and k are each content + position. TUPE, arXiv 2006.15595, equation 6.")


def _maps(terms: ClsTerms, image: np.ndarray, label: str, scale_max: float) -> None:
    titles = [*(term.replace("–", "–\n") for term in TERMS), "sum"]
    rows = [Row("image", [Tile(image.transpose(1, 2, 0), caption=label)])]
    for head, maps in enumerate(terms.maps[0]):
        rows.append(Row(f"head {head + 1}", map_tiles(np.stack([*maps, maps.sum(0)]), titles)))
    title = "Score of a patch minus the mean over all tokens: +1 means e ≈ 2.7 times the attention."
    scale = signed_scale(title, scale_max, "0, uniform")
    tiles(rows, scale, key="anatomy_term_maps", label="Terms of layer 1", size=72, choice=True)


def finding(terms: ClsTerms) -> str:
    """A summary of the terms."""
    position = terms.position_share
    peak = terms.peak
    sentences = [
        f"CLS gives its top patch **{_range(peak, '.1f')}×** the average attention per patch. "
        f"**{_range(position, '.1%')}** of the variance of its scores comes from the position of the patches, which is "
        f"nearly the same for all images, and **{_range(1 - position, '.1%')}** from their content."
    ]
    if peak.max() < NEARLY_UNIFORM:
        source = "position" if np.median(position) > 0.5 else "content"
        sentences.append(
            "The map is therefore nearly uniform; a pattern is visible only with a per-map scale (try it below), and "
            f"it is mostly due to {source}."
        )
    return " ".join(sentences)


def _range(values: np.ndarray, fmt: str) -> str:
    """The value of a single head, or the lowest and highest of several."""
    low, high = format(values.min(), fmt), format(values.max(), fmt)
    return low if low == high else f"{low} to {high}"
