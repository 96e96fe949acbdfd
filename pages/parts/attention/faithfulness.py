"""Whether the map that is shown can be trusted: patches taken away in its order, and objects whose place is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import streamlit as st
import torch
from torch import Tensor

from minivit.attention import Head
from minivit.attention.faithfulness import (
    Verdict,
    area,
    deletion,
    insertion,
    uniform_mass,
    uniform_pointing,
    verdict,
)
from minivit.attention.localization import KnownAnswer, Share, known_answer, known_answers
from minivit.attention.methods import METHODS, maps
from minivit.data.image_set import evenly_spaced
from minivit.figures import removal_curves, share_curves
from minivit.machine import threads_for
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import rank_correlation
from pages.parts.attention.methods import Asked
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize

SIZES = (16, 64, 256)
NUM_ORDERS, NUM_ORDERS_EACH = 64, 8  # random orders of one image, and of each image of a set
CHUNK = 8  # images between two steps of a progress bar
NUM_KNOWN, NUM_EPOCHS = 64, 17
REFERENCE = "occlusion_drop"


@dataclass(frozen=True)
class Removal:
    """Probabilities as patches go or come one by one: of B images in the map's order (B, N), and in R random ones."""

    deletion: Tensor
    insertion: Tensor
    by_chance: Tensor  # (B, R, N), patches going
    correlation: Tensor  # (B,), of the map with dropped occlusion

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Of deletion and insertion. A random order backwards is a random order, so one set serves both."""
        by_chance = area(self.by_chance.flatten(0, 1)).view(self.by_chance.shape[:2])
        return (
            verdict(area(self.deletion), by_chance, "deletion"),
            verdict(area(self.insertion), by_chance, "insertion"),
        )


def trusted(run: Run, epoch: int, image: int, asked: Asked, layer: int, head: Head) -> None:
    """The section: nothing is computed before a person asks for it."""
    st.header("Can this map be trusted?", anchor=False)
    st.caption(
        "Patches are dropped from the model in the map's order, the strongest first, and put back in that order. If "
        "the map names the patches that matter, the probability falls and comes back sooner than in random orders."
    )
    if not st.toggle("Measure it", key="trust", bind="query-params"):
        return
    test_set = cache.split(run.config)[1]
    classes = test_set.classes
    st.subheader("This image", anchor=False)
    _show(_removal_of_one(str(run.path), epoch, image, asked, layer, head, run), asked, asked_of(asked, classes))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Many images", anchor=False, width="content")
        sizes = sorted({min(size, len(test_set)) for size in SIZES})
        number = st.selectbox(
            "Test images", sizes, key="trust_images", bind="query-params", width=140,
            help="Spread over the whole test set; each is asked for the class that the model says.",
        )  # fmt: skip
    _show(
        _removal_of_many(str(run.path), epoch, number, asked.method, layer, head, run),
        asked,
        "probability of the class said",
    )
    st.subheader("Known answers", anchor=False)
    if test_set.masks is None:
        st.caption(
            "Where the objects are is known only for the drawn shapes. Train on them to see how much of each map lies "
            "on the object."
        )
        return
    _known(run, epoch, asked.method, layer, head)


def asked_of(asked: Asked, classes: Sequence[str]) -> str:
    """The name of the curves' axis: the probability that the map explains, of a class, or of one out of two."""
    if asked.against is None:
        return f"probability of {classes[asked.target]}"
    target, against = (classes[number] for number in (asked.target, asked.against))
    return f"{target} rather than {against}: p / (p + p)"


def _show(found: Removal, asked: Asked, which: str) -> None:
    going, coming = found.verdicts()
    st.markdown(f"**{sentence(going, coming)}**")
    by_chance = found.by_chance.mean(0).numpy()  # (R, N)
    curves = {
        "strongest patches\ndropped first": (found.deletion.mean(0).numpy(), by_chance),
        "strongest patches\nput back first": (found.insertion.mean(0).numpy(), by_chance[:, ::-1]),
    }
    title = METHODS[asked.method].title
    st.plotly_chart(removal_curves(curves, which, title), key=f"trust_curves_{len(found.deletion)}")
    correlation = found.correlation.nanmean().item()
    agrees = f"Rank correlation with dropped occlusion: {correlation:.2f} (1 is the same order, 0 none in common)."
    for said in (f"{str(going).capitalize()}.", f"{str(coming).capitalize()}.", agrees):
        st.caption(said)


def sentence(going: Verdict, coming: Verdict) -> str:
    """The plain verdict on both curves; one image can only speak for itself."""
    words, alone = {going.words, coming.words}, going.num_images == 1
    which = "on this image " if alone else ""
    if words == {"better than random"}:
        return f"Better than random both ways: this map names patches that {which}matter to the model."
    if words == {"worse than random"}:
        return f"Worse than random both ways: patches that this map passes over {which}matter more to the model."
    if "better than random" not in words and alone:
        return "One image cannot tell this map from a random order. Ask more images."
    if "better than random" not in words:
        return "Here no better than random: this order of the patches says nothing about what matters to the model."
    better, other = (going, coming) if going.words == "better than random" else (coming, going)
    half = f"Half and half: {better.curve} is better than random, {other.curve} {other.words}."
    return f"{half} Ask more images." if alone else half


@memoize("Dropping patches")
def _removal_of_one(path: str, epoch: int, image: int, asked: Asked, layer: int, head: Head, _run: Run) -> Removal:
    images, target = cache.split(_run.config)[1].images[image : image + 1], torch.tensor([asked.target])
    against = None if asked.against is None else torch.tensor([asked.against])
    model = cache.model_of(_run, epoch)
    with threads_for(_run.config):
        shown = maps(asked.method, model, images, target, layer, head, against)
        return _remove(model, images, target, shown, NUM_ORDERS, seed=image, against=against)


@memoize()
def _removal_of_many(path: str, epoch: int, number: int, method: str, layer: int, head: Head, _run: Run) -> Removal:
    test_set, model = cache.split(_run.config)[1], cache.model_of(_run, epoch)
    chosen = evenly_spaced(len(test_set), number)
    said = torch.from_numpy(cache.predictions(_run, epoch).predicted)
    parts = []
    with threads_for(_run.config):
        for some in _with_bar(torch.tensor(chosen).split(CHUNK), "Dropping patches of the test images"):
            images, classes = test_set.images[some.tolist()], said[some]
            shown = maps(method, model, images, classes, layer, head)
            parts.append(_remove(model, images, classes, shown, NUM_ORDERS_EACH, seed=int(some[0])))
    fields = ("deletion", "insertion", "by_chance", "correlation")
    return Removal(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def _remove(
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    shown: Tensor,
    num_orders: int,
    seed: int,
    against: Tensor | None = None,
) -> Removal:
    generator = torch.Generator().manual_seed(seed)
    orders = torch.rand(len(images) * num_orders, shown.shape[1], generator=generator)
    each = torch.arange(len(images)).repeat_interleave(num_orders)
    by_chance = deletion(model, images[each], classes[each], orders, None if against is None else against[each])
    return Removal(
        deletion(model, images, classes, shown, against),
        insertion(model, images, classes, shown, against),
        by_chance.view(len(images), num_orders, -1),
        rank_correlation(shown, maps(REFERENCE, model, images, classes, against=against)),
    )


def _with_bar(parts: Sequence[Tensor], what: str) -> Iterator[Tensor]:
    bar = st.progress(0.0, what)
    try:
        for done, part in enumerate(parts):
            cache.show_progress(bar, what, done, len(parts))
            yield part
    finally:
        bar.empty()


def _known(run: Run, epoch: int, method: str, layer: int, head: Head) -> None:
    """How much of each method's map lies on the object, at this epoch and untrained, and over all saved epochs."""
    images, _, masks = _known_images(run)
    by_chance = [
        float(one.mean()) for one in (uniform_mass(masks), uniform_pointing(masks, run.config.model.patch_size))
    ]
    st.caption(
        f"Over {len(images)} test images, asked for the true class, with 95 % intervals. Mass: the share of the "
        f"map on the object; {by_chance[0]:.1%} for a uniform map. Pointing: how often its strongest patch touches the "
        f"object; {by_chance[1]:.1%} of all patches do. Brightness needs no model: what it finds is no merit of one."
    )
    now, untrained = (_known_answers(str(run.path), one, run) for one in (epoch, 0))
    st.dataframe(
        [
            {
                "map": one.name,
                f"mass, epoch {epoch}": written(one.mass),
                "mass, untrained": written(before.mass),
                f"pointing, epoch {epoch}": written(one.pointing),
                "pointing, untrained": written(before.pointing),
                "verdict on the mass": one.words,
            }
            for one, before in zip(now, untrained, strict=True)
        ],
        column_config={"map": st.column_config.TextColumn(width=230)},
        hide_index=True,
    )
    epochs = run.epochs()
    shown = [epochs[place] for place in evenly_spaced(len(epochs), NUM_EPOCHS)]
    scores = [_known_answer(str(run.path), one, method, layer, head, run) for one in shown]
    names = ("mass on the object", "strongest patch touches it")
    shares = ([one.mass for one in scores], [one.pointing for one in scores])
    st.plotly_chart(
        share_curves(
            shown,
            {name: [(one.value, one.low, one.high) for one in each] for name, each in zip(names, shares, strict=True)},
            dict(zip(names, by_chance, strict=True)),
            f"{METHODS[method].title} (share)",
        ),
        key="trust_epochs",
    )


def written(share: Share) -> str:
    """A share as people read it: "80.5 % (78.9 to 82.0)"."""
    return f"{share.value:.1%} ({100 * share.low:.1f} to {100 * share.high:.1f})".replace("%", " %")


def _known_images(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Some test images, their labels and masks; in memory, wherever the others are."""
    test_set = cache.split(run.config)[1]
    assert test_set.masks is not None
    chosen = evenly_spaced(len(test_set), NUM_KNOWN)
    return test_set.images[chosen], test_set.labels[chosen], test_set.masks[chosen]


@memoize("Comparing the maps with the objects")
def _known_answers(path: str, epoch: int, _run: Run) -> list[KnownAnswer]:
    """Of every method, layer and head."""
    images, labels, masks = _known_images(_run)
    with threads_for(_run.config):
        return known_answers(cache.model_of(_run, epoch), images, masks, labels)


@memoize()
def _known_answer(path: str, epoch: int, method: str, layer: int, head: Head, _run: Run) -> KnownAnswer:
    """Of one of them."""
    images, labels, masks = _known_images(_run)
    with threads_for(_run.config):
        shown = maps(method, cache.model_of(_run, epoch), images, labels, layer, head)
    return known_answer(METHODS[method].title, shown, masks, _run.config.model.patch_size)
