"""Patch filters and the similarity of position embeddings."""

from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention.decomposition import filter_components, position_similarity
from minivit.figures import filter_images, similarity_grid
from minivit.runs import Checkpoint, Run
from pages.parts.components.tiles import Row, Scale, Tile, tiles
from pages.parts.shell import cache
from pages.parts.shell.glossary import explain
from pages.parts.shell.memoize import memoize

MAX_FILTERS = 64  # of a convolution


def embedding(run: Run, checkpoint: Checkpoint) -> None:
    """Patch filters beside the similarity of positions."""
    left, right = st.columns(2, gap="large")
    with left:
        filters(run, checkpoint)
    with right:
        positions(run, checkpoint)


def filters(run: Run, checkpoint: Checkpoint) -> None:
    """Principal components of the patch embedding, or the first filters of a convolutional stem."""
    model, config = cache.model_of(run, checkpoint), run.config.model
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
        f"filters' variance. Equal shares would be {1 / num_possible:.1%} each, but random filters have unequal shares "
        "too: compare the untrained model. ViT, figure 7 left (arXiv 2010.11929)."
    )


@memoize()
def _components(run: Run, checkpoint: Checkpoint) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    weight = cache.model_of(run, checkpoint).patch_embed.proj.weight
    components, shares = filter_components(weight)
    return components.numpy(), shares.numpy(), min(len(weight) - 1, weight[0].numel())


def _draw(weights: NDArray[np.float32], captions: list[str]) -> None:
    channels, largest = weights.shape[1], float(np.abs(weights).max())
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
        "learned": "They are learned; before training they are random and not similar to each other.",
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
