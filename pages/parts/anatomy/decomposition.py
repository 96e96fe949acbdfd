"""Position and content in the attention scores of layer 1."""

import numpy as np
import streamlit as st

from minivit.attention import TERMS
from minivit.attention.decomposition import ClsTerms, cls_terms
from minivit.figures import term_bars
from minivit.runs import Checkpoint, Run
from pages.parts.components.tiles import Row, Tile, map_tiles, signed_scale, tiles
from pages.parts.shell import cache
from pages.parts.shell.pickers import pick_image

NUM_IMAGES = 64
NEARLY_UNIFORM = 1.5  # below this multiple of the average attention per patch, the top patch does not stand out


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
    position, peak = terms.position_share, terms.peak
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
