"""What each head does over many images: how far it looks, where CLS looks with it, and what is lost without it."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention import head_effects, uniform_distance
from minivit.attention.heads import Survey, affordable, survey
from minivit.data.image_set import evenly_spaced
from minivit.figures import attention_distance_chart
from minivit.machine import threads_for
from minivit.runs import Checkpoint, Run
from minivit.stats import paired_change, wilson
from pages.parts.components.tiles import Row, Scale, Tile, tiles
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

NUM_IMAGES = 64
SIZES = (16, 64, 256, 1024, 4096)
AT_FIRST = 256  # images that heads are silenced on, or fewer where the model is large
CHUNK = 64  # images between two steps of a progress bar, or fewer likewise


@dataclass(frozen=True)
class Effect:
    """Accuracy with one head silenced, and how that changed it, with the 95 % interval of the change; all 0..1."""

    accuracy: float
    change: float
    low: float
    high: float

    @property
    def told_from_zero(self) -> bool:
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Effects:
    """Whether answers are right with each head silenced (L, H, B), and with none (B,)."""

    without: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    def of(self, layer: int, head: int) -> Effect:
        """That of one head."""
        without, total = self.without[layer, head], len(self.whole)
        gained, lost = int((without & ~self.whole).sum()), int((self.whole & ~without).sum())
        return Effect(float(without.mean()), (gained - lost) / total, *paired_change(gained, lost, total))


def distance_chart(run: Run, checkpoint: Checkpoint) -> None:
    """Mean attention distance per layer and head."""
    st.header("Mean attention distance", anchor=False)
    config = run.config.model
    st.caption(
        f"How far the patches look with each head, in pixels, over {_num_images(run)} test images. ViT's figure 7, "
        "right (arXiv 2010.11929)."
    )
    uniform = uniform_distance(config.grid, config.patch_size)
    st.plotly_chart(
        attention_distance_chart(_survey(str(run.path), checkpoint, run).distance, uniform), key="anatomy_distance"
    )


def effects(run: Run, checkpoint: Checkpoint) -> None:
    """Each head's mean CLS map; once a person asks, accuracy with the head silenced beside it."""
    st.header("What each head does", anchor=False)
    st.caption(
        f"Where CLS looks with each head, mean over {_num_images(run)} test images. A head that is silenced puts "
        "out zeros (Michel et al., arXiv 1905.10650): what that costs in accuracy is what the model needs it for."
    )
    found = _ask(run, checkpoint)
    if found:
        st.markdown(in_words(found))
    shown = _survey(str(run.path), checkpoint, run).cls_maps
    grid, (low, high) = run.config.model.grid, cache.run_scale(run)
    num_tokens = grid**2 + 1
    rows = [
        Row(f"layer {layer + 1}", [
            Tile(values.reshape(grid, grid), f"head {head + 1}", caption(found.of(layer, head)) if found else "")
            for head, values in enumerate(heads)
        ])
        for layer, heads in enumerate(shown)
    ]  # fmt: skip
    scale = Scale(
        title="Attention, one scale for all maps.", low=low, high=high,
        marks={f"uniform 1/{num_tokens} = {1 / num_tokens:.4f}": 1 / num_tokens},
    )  # fmt: skip
    tiles(rows, scale, key="anatomy_heads", label="Heads", size=104 if len(shown[0]) <= 4 else 78, choice=True)


def _ask(run: Run, checkpoint: Checkpoint) -> Effects | None:
    test_set = cache.split(run.config)[1]
    known = np.flatnonzero(test_set.labels.numpy() < run.environment.get("head_classes", len(test_set.classes)))
    if not len(known):
        st.info(
            "None of these images is of a class that this model knows, so it has no accuracy to lose. Import it with "
            "the class names that its head was trained on, and name the folders after them."
        )
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sizes = sorted({min(size, len(known)) for size in SIZES})
        fitting = [size for size in sizes if size <= affordable(run.config.model, AT_FIRST)]
        number = st.selectbox(
            "Test images", sizes, max(0, len(fitting) - 1), key="heads_images", bind="query-params", width=140,
            help="Spread over the whole test set. More make the effects surer and take longer.",
        )  # fmt: skip
        asked = st.toggle("Silence each head in turn", key="heads_silence", bind="query-params")
    return (
        _effects(str(run.path), checkpoint, tuple(known[evenly_spaced(len(known), number)].tolist()), run)
        if asked
        else None
    )


def in_words(found: Effects) -> str:
    """Accuracy of the whole model, and which head it needs most."""
    total, right = len(found.whole), int(found.whole.sum())
    low, high = wilson(right, total)
    said = f"All heads: **{right / total:.1%}** right ({low:.1%} to {high:.1%}) of {total:,} test images. "
    each = {(layer, head): found.of(layer, head) for layer, head in np.ndindex(found.without.shape[:2])}
    needed = [place for place, effect in each.items() if effect.told_from_zero]
    if not needed:
        return said + "No head's effect can be told from 0 on these images."
    layer, head = min(needed, key=lambda place: each[place].change)
    most = each[layer, head]
    return said + (
        f"Without layer {layer + 1}, head {head + 1} it is **{most.accuracy:.1%}** ({points(most)}). "
        f"Effects of {len(needed)} of {len(each)} heads can be told from 0 at 95 %, where chance alone would give "
        f"{len(each) / 20:.1g}."
    )


def caption(effect: Effect) -> str:
    """Accuracy, and its change in points with the 95 % interval, in three lines."""
    return f"{effect.accuracy:.1%}\n" + points(effect).replace(", ", "\n")


def points(effect: Effect) -> str:
    """A change of accuracy with its 95 % interval, in percentage points."""
    change, low, high = (f"{100 * one:+.1f}".replace("-", "−") for one in (effect.change, effect.low, effect.high))
    return f"{change} points, {low} to {high}"


def _num_images(run: Run) -> int:
    return min(len(cache.split(run.config)[1]), affordable(run.config.model, NUM_IMAGES))


@memoize("Looking at images with every head")
def _survey(path: str, checkpoint: Checkpoint, _run: Run) -> Survey:
    test_set = cache.split(_run.config)[1]
    with threads_for(_run.config):
        return survey(
            cache.model_of(_run, checkpoint), test_set.images[evenly_spaced(len(test_set), _num_images(_run))]
        )


@memoize()
def _effects(path: str, checkpoint: Checkpoint, chosen: tuple[int, ...], _run: Run) -> Effects:
    test_set, model = cache.split(_run.config)[1], cache.model_of(_run, checkpoint)
    parts, chunk = [], affordable(_run.config.model, CHUNK)
    bar = st.progress(0.0, "Silencing each head in turn")
    with threads_for(_run.config):
        for start in range(0, len(chosen), chunk):
            some = list(chosen[start : start + chunk])
            parts.append(head_effects(model, test_set.images[some], test_set.labels[some]))
            cache.show_progress(bar, "Silencing each head in turn", start + len(some), len(chosen))
    bar.empty()
    without, whole = zip(*parts, strict=True)
    return Effects(torch.cat(without, -1).cpu().numpy(), torch.cat(whole).cpu().numpy())
