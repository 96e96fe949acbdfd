"""The method that the Attention page shows: chosen by a person, carried in the URL, explained in a few words."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from minivit.attention import attend, value_weighted
from minivit.attention.methods import METHODS, maps, unavailable
from minivit.config import ViTConfig
from minivit.data.image_set import evenly_spaced
from minivit.figures import scale_limit
from minivit.runs import Run
from pages.parts.components.inspector import Reading, reading_of_attention
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.url import bind_to_url, param
from pages.parts.shell.wording import escape_markdown

FIRST = "cls_map"
SCALE_IMAGES = 32
WIDTH_PX = 220  # of a choice


class Asked(NamedTuple):
    """A method and what it is asked: a class by its index, and rather than which other one, where it needs one."""

    method: str
    target: int
    against: int | None = None

    def title(self, classes: Sequence[str]) -> str:
        """As people say it: "Class relevance: why star and not circle"."""
        title = METHODS[self.method].title
        if not METHODS[self.method].needs_class:
            return title
        rather = "" if self.against is None else f" and not {classes[self.against]}"
        return f"{title}: why {classes[self.target]}{rather}"


def pick_method(config: ViTConfig, classes: Sequence[str], predicted: int) -> Asked:
    """Widgets for the method and its class; by default attention, and the class that the model says."""
    off = {name: reason for name in METHODS if (reason := unavailable(name, config))}
    names = [name for name in METHODS if name not in off]
    found = param("method") if param("method") in names else FIRST

    def methods(**how: Any) -> str:
        return st.selectbox("Method", names, format_func=lambda name: METHODS[name].title, width=WIDTH_PX, **how)

    method = bind_to_url("method", found, methods)
    return pick_classes(Asked(method, predicted), classes) if METHODS[method].needs_class else Asked(method, predicted)


def pick_classes(asked: Asked, classes: Sequence[str]) -> Asked:
    """Widgets for the class that is asked for, and the one that it is set against."""
    found = param("class") if param("class") in classes else classes[asked.target]
    target = bind_to_url("class", found, lambda **how: st.selectbox("Why this class", classes, width=WIDTH_PX, **how))
    others = [name for name in classes if name != target]
    rather = param("against") if param("against") in others else None

    def against(**how: Any) -> str | None:
        placeholder = "no other in particular"
        return st.selectbox("and not", others, index=None, placeholder=placeholder, width=WIDTH_PX, **how)

    rather = bind_to_url("against", rather, against, write=lambda name: name)
    return Asked(asked.method, classes.index(target), None if rather is None else classes.index(rather))


def explain(asked: Asked, config: ViTConfig) -> None:
    """Formula, source and limits of the method, and which others say nothing for this model."""
    said = METHODS[asked.method]
    st.caption(
        f"{said.title}: {escape_markdown(said.formula)}. {escape_markdown(said.source)}. {escape_markdown(said.limits)}"
    )
    for name in METHODS:
        reason = unavailable(name, config)
        if reason:
            st.caption(f":material/block: {METHODS[name].title} is switched off. {escape_markdown(reason)}")


def reading(asked: Asked, classes: Sequence[str], config: ViTConfig, num_on: int, absolute_max: float) -> Reading:
    """How the values of a method are read where `num_on` tokens are on and the absolute scale ends there."""
    title, decimals = asked.title(classes), max(0, 1 - floor(log10(absolute_max / 4)))
    match asked.method:
        case "cls_map":
            return reading_of_attention(num_on)
        case "value_weighted":
            return Reading(
                title=title,
                decimals=decimals,
                verbs=("takes from", "gives to"),
                unit="‖α f(x)‖, as long as in the embedding",
            )
        case "rollout":
            return Reading(
                title=title, decimals=decimals, unit="what reaches CLS through all layers, and how many times uniform",
                meaning="what reaches CLS through all layers.", uniform=(1 - 0.5**config.depth) / num_on,
                uniform_name="uniform attention",
            )  # fmt: skip
        case "relevance":
            return Reading(title=title, decimals=decimals, unit="relevance, in logits", meaning="what speaks for it.")
    lost = "logit" if asked.against is None else "difference of the two logits"
    return Reading(
        title=title, decimals=decimals, signed=True, unit=f"{lost} lost without the patch",
        meaning=f"{lost} lost without the patch. Red speaks for it, blue against it.",
    )  # fmt: skip


def values(run: Run, epoch: int, image: int, asked: Asked) -> NDArray[np.float32]:
    """What the method says of the whole image: (L, H, N, N) where it has layers and heads, else one map (N-1,)."""
    if asked.method == "cls_map":
        return cache.attention(run, epoch, image)[1]
    return _values(str(run.path), epoch, image, asked, run)


@memoize()
def _values(path: str, epoch: int, image: int, asked: Asked, _run: Run) -> NDArray[np.float32]:
    model, images = cache.model_of(_run, epoch), cache.split(_run.config)[1].images[image : image + 1]
    if METHODS[asked.method].needs_layer:
        return torch.cat(value_weighted(model, images)).numpy()
    against = None if asked.against is None else torch.tensor([asked.against])
    return maps(asked.method, model, images, torch.tensor([asked.target]), against=against)[0].numpy()


def absolute_max(run: Run, asked: Asked) -> float:
    """The top of a method's absolute scale, the same for all images and epochs of a run: from its newest weights."""
    if asked.method == "cls_map":
        return cache.run_scale(run)[1]
    return _absolute_max(str(run.path), run.epochs()[-1], asked.method, run)


@memoize()
def _absolute_max(path: str, epoch: int, method: str, _run: Run) -> float:
    """99 % of the values of some images stay below it, in size."""
    test_set, said = cache.split(_run.config)[1], cache.predictions(_run, epoch).predicted
    chosen = evenly_spaced(len(test_set), SCALE_IMAGES)
    model, images = cache.model_of(_run, epoch), test_set.images[chosen]
    if METHODS[method].needs_layer:
        found = torch.cat([layer[:, :, 0, 1:].flatten() for layer in value_weighted(model, images)])
    else:
        found = maps(method, model, images, torch.from_numpy(said[chosen])).flatten()
    return scale_limit(found.numpy())


def with_patches_off(
    run: Run, epoch: int, image: int, off: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (K,) and attention (L, H, N, N) of an image without the tokens `off`: their entries are 0."""
    return _with_patches_off(str(run.path), epoch, image, tuple(off), run)


@memoize()
def _with_patches_off(
    path: str, epoch: int, image: int, off: tuple[int, ...], _run: Run
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    model, images = cache.model_of(_run, epoch), cache.split(_run.config)[1].images[image : image + 1]
    on = np.setdiff1d(np.arange(_run.config.model.num_patches + 1), off)
    probs, attn = attend(model, images, torch.from_numpy(on[1:] - 1)[None])
    whole = np.zeros(
        (*attn.shape[1:3], _run.config.model.num_patches + 1, _run.config.model.num_patches + 1), np.float32
    )
    whole[:, :, on[:, None], on] = attn[0].numpy()
    return probs[0].numpy(), whole


def caveats(asked: Asked, off: Sequence[int]) -> None:
    """What a person has to know to read the map."""
    if METHODS[asked.method].needs_layer:
        st.caption(
            "CLS is the token that the answer is read from. In the last layer only what CLS looks at reaches the "
            "answer; what patches look at there is computed but never used."
        )
    if off and asked.method != FIRST:
        st.caption("This map is that of the whole image; the probabilities are those without the patches that are off.")
