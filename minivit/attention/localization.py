"""Localization: does a map lie on the object, where the data set has masks of the objects?

B images, P patches. Maps that use no model serve as controls: an object that lies in the middle, or is brighter than
its background, can be found without one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.attention.maps import Head, head_title
from minivit.attention.methods import available_methods
from minivit.attention.verdicts import ALPHA
from minivit.errors import DataError
from minivit.model import MiniViT
from minivit.stats import holm, paired_t, wilson

CONTROL = "{} (control, no model)"
ON_OBJECT = "on the object"
MIN_GAIN = 0.01  # of the energy; a smaller gain counts as no difference from a uniform map


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
    """Whether a map's highest patch touches the object, 0 or 1, (B,): the pointing game (1608.00507).

    Of several highest patches it is the share that does.
    """
    touching = object_coverage(masks, patch_size).to(maps.device) > 0
    highest = maps == maps.amax(1, keepdim=True)
    return (touching & highest).sum(1) / highest.sum(1).clamp(min=1)


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
    p: float = 0.0  # two-sided, that there is no gain; corrected where many maps are tested

    @property
    def verdict(self) -> str:
        """The verdict: does the map find the object better than a uniform one, by enough to matter?"""
        if self.p < ALPHA and self.gain.low > 0 and self.gain.value >= MIN_GAIN:
            return ON_OBJECT
        if self.p < ALPHA and self.gain.high < 0 and self.gain.value <= -MIN_GAIN:
            return "off the object"
        return f"no more {ON_OBJECT} than a uniform map"


def localize(name: str, maps: Tensor, masks: Tensor, patch_size: int) -> Localization:
    """The localization of maps (B, P), given the masks of the objects, bool (B, H, W)."""
    maps = maps.cpu()
    inside = energy_inside(maps, masks, patch_size)
    hits = pointing(maps, masks, patch_size)
    gain, p = _gain(inside, uniform_energy(masks))
    return Localization(name, _mean(inside), Share(hits.mean().item(), *_wilson(hits)), gain, p)


def localize_methods(model: MiniViT, images: Tensor, masks: Tensor | None, labels: Tensor) -> list[Localization]:
    """The localization of every method, layer and head, for the true class; DataError without masks.

    The mean over the heads of a layer comes before its heads; maps that use no model come first. p is corrected by
    Holm's method.
    """
    if masks is None:
        raise DataError("These images have no object masks. Localization needs the data set 'shapes'.")
    size = model.config.patch_size
    results = [localize(name, maps, masks, size) for name, maps in _named_maps(model, images, labels)]
    return [replace(result, p=p) for result, p in zip(results, holm([result.p for result in results]), strict=True)]


def revealing_controls(results: list[Localization]) -> str:
    """A sentence if maps that use no model lie on the object, so that a verdict on others proves little; else empty."""
    controls = [result for result in results if result.name.endswith(CONTROL.format(""))]
    names = [control.name for control in controls if control.verdict == ON_OBJECT]
    if not names:
        return ""
    which = f"These maps, which use no model, lie {ON_OBJECT} too: {', '.join(names)}."
    return f"{which} A verdict on other maps therefore proves little."


def control_maps(images: Tensor, patch_size: int) -> dict[str, Tensor]:
    """Maps (B, P) >= 0 of images (B, C, H, W) that use no model: constant, brightness, nearness to the center."""
    bright = F.avg_pool2d(images.float().mean(1, keepdim=True), patch_size).flatten(1)
    along = torch.arange(images.shape[-1] // patch_size, dtype=torch.float32, device=images.device)
    from_middle = torch.cartesian_prod(along, along).sub((len(along) - 1) / 2).norm(dim=1)
    center = (from_middle.max() - from_middle).expand_as(bright)
    return {"constant": torch.ones_like(bright), "brightness": bright, "center": center}


def _named_maps(model: MiniViT, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Titles and maps (B, P) of every method, layer and head."""
    controls = control_maps(images, model.config.patch_size)
    controls["random"] = torch.rand(controls["constant"].shape, generator=torch.Generator().manual_seed(0))
    for name, maps in controls.items():
        yield CONTROL.format(name), maps
    heads: list[Head] = ["mean", *range(model.config.num_heads)] if model.config.num_heads > 1 else [0]
    choices = [(layer, head) for layer in range(model.config.depth) for head in heads]
    for method in available_methods(model.config).values():
        if not method.needs_layer:
            yield method.title, method.attribute(model, images, labels)
            continue
        for (layer, head), maps in zip(choices, method.attribute_heads(model, images, choices), strict=True):
            yield f"{method.title}, layer {layer + 1}, {head_title(head)}", maps


def _mean(values: Tensor) -> Share:
    """The mean of shares (B,). Where they do not vary, as those of maps that miss every object, Wilson's interval."""
    low, high = paired_t(values)[:2] if len(values) > 1 and values.std() else _wilson(values)
    return Share(values.mean().item(), max(0, low), min(1, high))


def _gain(inside: Tensor, uniform: Tensor) -> tuple[Share, float]:
    """The mean of inside - uniform (B,), and the p that it is 0. One image says nothing about others.

    The interval is Student's, and reaches at least as high as Wilson's for the energy inside: a few images whose
    objects a map misses, all by as much, leave open how often it does.
    """
    gain = inside - uniform
    low, high, p = paired_t(gain) if len(gain) > 1 else (-1.0, 1.0, 1.0)
    return Share(gain.mean().item(), low, max(high, _wilson(inside)[1] - uniform.mean().item())), p


def _wilson(values: Tensor) -> tuple[float, float]:
    return wilson(float(values.sum()), len(values))
