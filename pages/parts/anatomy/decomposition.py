"""CLS's scores in layer 1 taken apart into what patches show and where they are."""

import numpy as np
import streamlit as st

from minivit.attention import TERMS
from minivit.attention.heads import ClsTerms, affordable, cls_terms
from minivit.data.image_set import evenly_spaced
from minivit.figures import scale_limit, term_bars
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from pages.parts.components.tiles import Row, Scale, Tile, tiles
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.pickers import pick_image

NUM_IMAGES = 64
NEARLY_UNIFORM = 1.5  # the strongest patch has less than so many times the mean patch's attention


def terms(run: Run, checkpoint: Checkpoint) -> None:
    """Four maps and their sum for one image, a bar a head over many, and in words what they show."""
    st.header("Layer 1 taken apart: place and content", anchor=False)
    test_set = cache.split(run.config)[1]
    many = evenly_spaced(len(test_set), affordable(run.config.model, NUM_IMAGES))
    found = _terms(str(run.path), checkpoint, tuple(many), run)
    st.markdown(in_words(found))
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        image = pick_image(len(test_set))
        one = _terms(str(run.path), checkpoint, (image,), run)
        label = test_set.classes[test_set.labels[image]]
        _maps(one, test_set.images[image].numpy(), label, _top(run, many))
    with right:
        st.caption(
            f"How much each term makes CLS's scores differ from token to token, over {len(many)} test images. Its "
            "first half is the query's, its second the key's. A term that works against the others is below 0."
        )
        st.plotly_chart(term_bars(found.shares, TERMS), key="anatomy_terms")
        st.caption("A score is q·k/√d; q and k are each content + position. TUPE, arXiv 2006.15595, equation 6.")


def _maps(one: ClsTerms, image: np.ndarray, label: str, top: float) -> None:
    grid = round(one.maps.shape[-1] ** 0.5)
    rows = [Row("image", [Tile(image.transpose(1, 2, 0), caption=label)])]
    for head, maps in enumerate(one.maps[0]):
        named = [*zip(maps, TERMS, strict=True), (maps.sum(0), "all four")]
        shown = [Tile(values.reshape(grid, grid), name.replace("–", "–\n")) for values, name in named]
        rows.append(Row(f"head {head + 1}", shown))
    scale = Scale(
        title="Score of a patch, from the mean of all tokens: 1 more is e = 2.7 times the attention.",
        low=-top, high=top, colors="difference", marks={"0, uniform": 0.0},
    )  # fmt: skip
    tiles(rows, scale, key="anatomy_term_maps", label="Terms of layer 1", size=72, choice=True)


def in_words(found: ClsTerms) -> str:
    """What the terms show, with their numbers."""
    place, peak = found.place_share, found.peak
    said = [
        f"CLS gives the strongest patch **{_range(peak, '.1f')} times** the attention of the mean patch. Of what "
        f"makes its scores differ, **{_range(place, '.0%')}** is where a patch is, and so nearly the same for all "
        f"images, and **{_range(1 - place, '.0%')}** is what it shows."
    ]
    if peak.max() < NEARLY_UNIFORM:
        said.append(
            "So the map is nearly uniform: wild only where a picture is scaled to its own range (try it below), and "
            f"what is seen then is mostly {'places' if np.median(place) > 0.5 else 'what weights make of the pixels'}."
        )
    return " ".join(said)


def _range(values: np.ndarray, form: str) -> str:
    """One number, or the lowest and highest of the heads."""
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def _top(run: Run, many: list[int]) -> float:
    """The end of the absolute scale of all checkpoints and images: 4 times uniform, or 99 % at the newest weights."""
    newest = _terms(str(run.path), cache.newest_readable(run), tuple(many), run)
    return scale_limit(newest.maps, float(np.log(4)))


@memoize("Taking layer 1 apart")
def _terms(path: str, checkpoint: Checkpoint, chosen: tuple[int, ...], _run: Run) -> ClsTerms:
    with threads_for(_run.config):
        return cls_terms(cache.model_of(_run, checkpoint), cache.split(_run.config)[1].images[list(chosen)])
