"""Localization: does a map lie on the object, where the data set has masks of the objects?

B images, P patches. A map that does not use the model at all, the brightness of the patches, serves as a baseline: an
object brighter than its background can be found without a model.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import Head, write_head
from minivit.attention.methods import available_methods
from minivit.errors import DataError
from minivit.model import MiniViT
from minivit.stats import bootstrap, wilson

CONTROL = "{} (control, no model)"


def object_coverage(masks: Tensor, patch_size: int) -> Tensor:
    """The share of each patch that the object covers, bool (B, H, W) -> (B, P) in 0..1."""
    return F.avg_pool2d(masks[:, None].float(), patch_size).flatten(1)


def energy_inside(maps: Tensor, masks: Tensor, patch_size: int) -> Tensor:
    """The share (B,) of a map's energy that lies on the object, given its masks, bool (B, H, W).

    A patch's energy is spread evenly over its pixels. Only values above 0 count; a map without any has none inside.
    As in the energy-based pointing game (1910.01279).
    """
    energy = maps.clamp(min=0)
    inside = (energy * object_coverage(masks, patch_size).to(maps)).sum(-1)
    return inside / energy.sum(-1).clamp(min=torch.finfo(maps.dtype).tiny)


def uniform_energy(masks: Tensor) -> Tensor:
    """The `energy_inside` of a uniform map: the object's share of the image, (B, H, W) -> (B,)."""
    return masks.float().mean((1, 2))


def pointing(maps: Tensor, masks: Tensor, patch_size: int) -> Tensor:
    """Whether a map's highest patch touches the object, bool (B,): the pointing game (1608.00507)."""
    highest = maps.argmax(1, keepdim=True)
    return object_coverage(masks, patch_size).to(maps.device).gather(1, highest)[:, 0] > 0


def uniform_pointing(masks: Tensor, patch_size: int) -> Tensor:
    """The probability (B,) that a random patch touches the object."""
    return (object_coverage(masks, patch_size) > 0).float().mean(1)


@dataclass(frozen=True)
class Share:
    """A share, 0..1, with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class Localization:
    """How much of a map's energy lies on the object, and how often its highest patch touches it."""

    name: str
    energy: Share
    pointing: Share
    gain: Share  # of the energy over a uniform map, image by image

    @property
    def words(self) -> str:
        """The verdict: does the map find the object better than a uniform one?"""
        if self.gain.low > 0:
            return "on the object"
        return "off the object" if self.gain.high < 0 else "no more on the object than a uniform map"


def localize(name: str, maps: Tensor, masks: Tensor, patch_size: int) -> Localization:
    """The localization of maps (B, P), given the masks of the objects, bool (B, H, W)."""
    maps = maps.cpu()
    inside, hits = energy_inside(maps, masks, patch_size), pointing(maps, masks, patch_size)
    return Localization(
        name,
        energy=_mean(inside),
        pointing=Share(hits.float().mean().item(), *wilson(int(hits.sum()), len(hits))),
        gain=_mean(inside - uniform_energy(masks)),
    )


def localize_methods(model: MiniViT, images: Tensor, masks: Tensor | None, labels: Tensor) -> list[Localization]:
    """The localization of every method, layer and head, for the true class; DataError without masks.

    The mean over the heads of a layer comes before its heads.
    """
    if masks is None:
        raise DataError("These images have no object masks. Localization needs the data set 'shapes'.")
    size = model.config.patch_size
    return [localize(name, maps, masks, size) for name, maps in _named_maps(model, images, labels)]


def control_maps(images: Tensor, patch_size: int) -> dict[str, Tensor]:
    """Maps (B, P) of images (B, C, H, W) that use no model: constant, brightness of a patch, nearness to the centre."""
    bright = F.avg_pool2d(images.float().mean(1, keepdim=True), patch_size).flatten(1)
    along = torch.arange(images.shape[-1] // patch_size, dtype=torch.float32, device=images.device)
    from_middle = torch.cartesian_prod(along, along).sub((len(along) - 1) / 2).norm(dim=1)
    return {"constant": torch.zeros_like(bright), "brightness": bright, "centre": (-from_middle).expand_as(bright)}


def _named_maps(model: MiniViT, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Titles and maps (B, P) of every method, layer and head."""
    for name, maps in control_maps(images, model.config.patch_size).items():
        yield CONTROL.format(name), maps
    heads: list[Head] = ["mean", *range(model.config.num_heads)] if model.config.num_heads > 1 else [0]
    choices = [(layer, head) for layer in range(model.config.depth) for head in heads]
    for method in available_methods(model.config).values():
        if not method.needs_layer:
            yield method.title, method.attribute(model, images, labels)
            continue
        for (layer, head), maps in zip(choices, method.attribute_heads(model, images, choices), strict=True):
            yield f"{method.title}, layer {layer + 1}, head {write_head(head)}", maps


def _mean(values: Tensor) -> Share:
    return Share(values.mean().item(), *bootstrap(values))
