"""What the methods' maps are worth on a whole set of images: known answers, and deletion and insertion, as tables.

A map that knows nothing of the model stands beside them, the brightness of the image's patches: an object that is
lighter than its surroundings can be found without a model. And what a uniform map scores is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention.faithfulness import (
    Verdict,
    area,
    deletion,
    insertion,
    mass_inside,
    pointing,
    random_areas,
    uniform_mass,
    uniform_pointing,
    verdict,
)
from minivit.attention.maps import Head, cls_map, write_head
from minivit.attention.methods import METHODS, every_layer, maps, unavailable
from minivit.data import load_split
from minivit.errors import ConfigError, DataError
from minivit.inference import logits
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.stats import bootstrap, rank_correlation, wilson

NUM_IMAGES, NUM_ORDERS = 200, 10
CHUNK = 64  # images whose whole attention is held at a time


@dataclass(frozen=True)
class Share:
    """A share of 1 with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class KnownAnswer:
    """How much of one map lies on the object, and how often its highest patch touches it."""

    name: str
    mass: Share
    pointing: Share
    gain: Share  # of mass over a uniform map, image by image

    @property
    def words(self) -> str:
        """Whether the map finds the object better than a uniform one does."""
        if self.gain.low > 0:
            return "on the object"
        return "off the object" if self.gain.high < 0 else "no more on the object than a uniform map"


@dataclass(frozen=True)
class Faithfulness:
    """A method's areas against random orders, and how its order agrees with occlusion's."""

    name: str
    deletion: Verdict
    insertion: Verdict
    rank_correlation: float  # Spearman's with dropped occlusion, mean over the images


def known_answers(model: MiniViT, images: Tensor, masks: Tensor | None, labels: Tensor) -> list[KnownAnswer]:
    """Every method, layer and head scored against the objects' masks, bool (B, H, W), asked for the true class.

    Each layer's mean over heads comes before its heads. DataError where the images have no masks.
    """
    if masks is None:
        raise DataError("These images have no masks of their objects. Known answers need the data set 'shapes'.")
    size = model.config.patch_size
    return [known_answer(name, every, masks, size) for name, every in _named_maps(model, images, labels)]


def known_answer(name: str, maps: Tensor, masks: Tensor, patch_size: int) -> KnownAnswer:
    """One map of each image, (B, P), scored against the objects' masks, bool (B, H, W)."""
    inside, hits = mass_inside(maps, masks, patch_size), pointing(maps, masks, patch_size)
    return KnownAnswer(
        name,
        mass=_mean(inside),
        pointing=Share(hits.float().mean().item(), *wilson(int(hits.sum()), len(hits))),
        gain=_mean(inside - uniform_mass(masks)),
    )


def faithfulness(model: MiniViT, images: Tensor, num_orders: int = NUM_ORDERS, seed: int = 0) -> list[Faithfulness]:
    """Every method by deletion and insertion of the predicted class against random orders; last layer, mean head."""
    classes = logits(model, images).argmax(1)
    by_chance = random_areas(model, images, classes, num_orders, torch.Generator().manual_seed(seed))
    names = [name for name in METHODS if not unavailable(name, model.config)]
    found = {METHODS[name].title: _chunked(name, model, images, classes) for name in names}
    found[BRIGHTNESS] = brightness(images, model.config.patch_size).to(classes.device)
    reference = found[METHODS["occlusion_drop"].title]
    return [
        Faithfulness(
            title,
            verdict(area(deletion(model, images, classes, one)), by_chance, "deletion"),
            verdict(area(insertion(model, images, classes, one)), by_chance, "insertion"),
            rank_correlation(one, reference).nanmean().item(),
        )
        for title, one in found.items()
    ]


BRIGHTNESS = "Brightness of the image, no model"


def brightness(images: Tensor, patch_size: int) -> Tensor:
    """Mean value of each patch over pixels and channels, (B, C, H, W) -> (B, P)."""
    return torch.nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), patch_size).flatten(1)


def _named_maps(model: MiniViT, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every map that there is to score, (B, P) on the CPU, by a name for people."""
    yield BRIGHTNESS, brightness(images, model.config.patch_size)
    for name, method in METHODS.items():
        if unavailable(name, model.config):
            continue
        if not method.needs_layer:
            yield method.title, _chunked(name, model, images, labels).cpu()
            continue
        heads: list[Head] = ["mean", *range(model.config.num_heads)] if model.config.num_heads > 1 else [0]
        places = [(layer, head) for layer in range(model.config.depth) for head in heads]
        parts = []
        for some in images.split(CHUNK):
            layers = every_layer(name, model, some)
            parts.append(torch.stack([cls_map(layers[layer], head).cpu() for layer, head in places]))
        for (layer, head), every in zip(places, torch.cat(parts, dim=1), strict=True):
            yield f"{method.title}, layer {layer + 1}, head {write_head(head)}", every


def _chunked(name: str, model: MiniViT, images: Tensor, classes: Tensor) -> Tensor:
    pairs = zip(images.split(CHUNK), classes.split(CHUNK), strict=True)
    return torch.cat([maps(name, model, some, asked) for some, asked in pairs])


def _mean(values: Tensor) -> Share:
    return Share(values.mean().item(), *bootstrap(values))


def report(run: Run, epoch: int | None = None, num_images: int = NUM_IMAGES) -> str:
    """Both tables of a run's model after `epoch` (the newest by default) as Markdown, on the first test images.

    Known answers only where the data set has masks, beside the untrained model's. ConfigError for fewer than 2 images.
    """
    if num_images < 2:
        raise ConfigError(f"{num_images} images cannot be compared. Take at least 2.")
    model, untrained = run.load_model(epoch), run.load_model(0)
    _, test_set = load_split(run.config)
    found = test_set.select(range(min(num_images, len(test_set))))
    images, labels = found.images[:], found.labels
    masks = None if found.masks is None else found.masks[:]
    right = (logits(model, images).argmax(1).cpu() == labels).float().mean().item()
    lines = [f"{len(found)} test images, accuracy {right:.3f}, epoch {run.epochs()[-1] if epoch is None else epoch}"]
    if masks is None:
        lines += ["", f"Known answers need masks of the objects, which the data set {run.config.dataset!r} has not."]
    else:
        now, before = (known_answers(one, images, masks, labels) for one in (model, untrained))
        chance = uniform_mass(masks).mean().item(), uniform_pointing(masks, model.config.patch_size).mean().item()
        lines += ["", *_known_table(now, before, *chance)]
    return "\n".join([*lines, "", *_faith_table(faithfulness(model, images))])


def _known_table(trained: list[KnownAnswer], untrained: list[KnownAnswer], mass: float, touching: float) -> list[str]:
    header = ["Map", "Mass on the object", "Untrained", "Highest patch touches it", "Untrained", "Verdict"]
    rows = [
        [after.name, str(after.mass), str(before.mass), str(after.pointing), str(before.pointing), after.words]
        for after, before in zip(trained, untrained, strict=True)
    ]
    return [
        "Known answers, asked for the true class, with 95 % intervals. A uniform map has "
        f"{mass:.3f} of its mass on the object, and {touching:.3f} of all patches touch it.",
        "",
        *_markdown(header, rows),
    ]


def _faith_table(scored: list[Faithfulness]) -> list[str]:
    header = ["Map", "Deletion area (low is good)", "Verdict", "Insertion area (high is good)", "Verdict",
              "Rank correlation with dropped occlusion"]  # fmt: skip
    rows = [
        [
            one.name,
            *(text for each in (one.deletion, one.insertion) for text in (f"{each.area:.3f}", _said(each))),
            f"{one.rank_correlation:.2f}",
        ]
        for one in scored
    ]
    by_chance = scored[0].deletion
    return [
        "Deletion and insertion of the predicted class, last layer, mean over heads. Random orders: "
        f"{by_chance.random_mean:.3f} ± {by_chance.random_sd:.3f}.",
        "",
        *_markdown(header, rows),
    ]


def _said(one: Verdict) -> str:
    return f"{one.words} (p = {one.p:.1g})"


def _markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
