"""What the weights say of patches alone: what each is matched with, and which places are alike."""

from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from minivit.attention import position_similarity
from minivit.attention.heads import filter_components
from minivit.figures import filter_images, similarity_grid
from minivit.runs import Checkpoint, Run
from pages.parts.components.tiles import Row, Scale, Tile, tiles
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

MAX_FILTERS = 64  # of a convolution


def filters(run: Run, checkpoint: Checkpoint) -> None:
    """Principal components of the patch embedding; of a convolutional stem its first filters as they are."""
    model, config = cache.model_of(run, checkpoint), run.config.model
    if config.stem == "conv":
        st.header("Filters of the first convolution", anchor=False)
        weight: Any = model.patch_embed.stem[0].weight  # type: ignore[index]
        count, shown = len(weight), weight.detach()[:MAX_FILTERS].numpy()
        st.caption(
            f"This stem is convolutional: a patch passes several 3×3 convolutions before it is a token, so there is no "
            f"one filter that a whole patch is matched with, and no principal components of them. These are "
            f"{'the' if count <= MAX_FILTERS else f'{MAX_FILTERS} of the'} {count} filters that see pixels."
        )
        _draw(shown, [""] * len(shown))
        return
    st.header("Patch filters", anchor=False)
    components, shares, num_possible = _components(str(run.path), checkpoint, run)
    st.caption(
        f"Principal components of the {config.embed_dim} filters in `patch_embed.proj`, and how much of the filters' "
        f"variance each holds: these {len(shares)} hold {shares.sum():.0%} of it. Even shares would be "
        f"{1 / num_possible:.1%} each, but those of random filters are uneven too: compare the untrained model. ViT's "
        "figure 7, left (arXiv 2010.11929)."
    )
    _draw(components, [f"{share:.1%}" for share in shares])


@memoize()
def _components(path: str, checkpoint: Checkpoint, _run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    weight = cache.model_of(_run, checkpoint).patch_embed.proj.weight
    components, shares = filter_components(weight)
    return components.numpy(), shares.numpy(), min(len(weight) - 1, weight[0].numel())


def _draw(weights: NDArray[np.float32], captions: list[str]) -> None:
    channels, top = weights.shape[1], float(np.abs(weights).max())
    if channels not in (1, 3):
        st.info(
            f"This model reads {channels} channels, and a screen has the colours of 3: its filters cannot be shown as "
            "pictures."
        )
        return
    pictures = filter_images(weights).transpose(0, 2, 3, 1)
    title = "Weight of a pixel" + (", red, green and blue each" if channels == 3 else "") + ". One scale for all."
    tiles(
        [Row("", [Tile(picture, caption=caption) for picture, caption in zip(pictures, captions, strict=True)])],
        Scale(title=title, low=-top, high=top, colors="grey", marks={"0": 0.0}),
        key="anatomy_filters", label="Patch filters", size=60,
    )  # fmt: skip


def positions(run: Run, checkpoint: Checkpoint) -> None:
    """Cosines between positions, in their places."""
    st.header("Position similarity", anchor=False)
    kinds = {
        "sine": "These are the fixed sine table, numbered row by row: the same at every checkpoint, and most alike for "
        "neighbours in a row.",
        "learned": "These are learned; before training they are random, each like no other.",
    }
    st.caption(
        "Cosine between one patch's position and all others: a small map per patch, in its place. "
        + kinds[run.config.model.pos_embed]
    )
    similarity = position_similarity(cache.model_of(run, checkpoint)).numpy()
    st.plotly_chart(similarity_grid(similarity), key="anatomy_positions")
